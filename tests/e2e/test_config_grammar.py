"""The shared files' grammar: hundreds of small files, read by botocore and by us; the same outcome, value for value.

Handwritten corner cases first, then random files made of the pieces that matter to the grammar, then mutations of good
files. The seeds are fixed: a failure is found again. What we refuse and botocore doesn't (a NUL byte) is a case of its
own here; keys that aren't ASCII are folded to lower case in their ASCII letters only, so such keys don't occur.
"""

import json
import os
import pathlib
import random
import re
import shlex
import subprocess

import pytest

import mounting

configloader = pytest.importorskip("botocore.configloader", reason="NO python3-botocore HERE: nothing to compare with")
from botocore.exceptions import ConfigParseError                # noqa: E402

DUMP = pathlib.Path(mounting.BINARY).parent.parent / "tests/unit/config_dump"
SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"

GOOD = """\
# a comment
[default]
region = us-east-1
aws_access_key_id = AKIDEXAMPLE
aws_secret_access_key = wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY

[profile "two words"]
role_arn: arn:aws:iam::123456789012:role/a
source_profile = default
s3 =
    addressing_style = path
    max_queue_size=10
services = local

; another comment
[sso-session corp]
sso_start_url = https://example.awsapps.com/start#/
sso_region = eu-west-1

[services local]
route53globalresolver =
  endpoint_url = http://localhost:8080
sts =
  endpoint_url = http://localhost:8081

[preview]
x = y
"""

CASES = [
    "", "\n", " ", "\n\n \n\t\n", "# only a comment", "; only\n# comments\n", "text\n", "key = value\n", " [a]\n",
    # Sections
    "[default]", "[default]\n", "[ default ]\na=b", "[default] trailing\na=b", "[default]]\na=b", "[[default]\na=b",
    "[a][b]\nc=d", "[a] = [b]\nc=d", "[]\n", "[default]\n[]\n", "[default]\n[]=x\n", "[]]\na=b", "[default\na=b",
    "[default]\n[broken\n", "[default]\n[broken = x\n", "  [default]\n  a=b\n  c=d\n", "[Default]\na=b", "[DEFAULT]\na=b",
    "[default]\na=1\n[default]\nb=2\n", "[profile a]\nx=1\n[profile \"a\"]\ny=2\n", "[profile default]\na=1\n[default]\nb=2",
    "[default]\na=1\n[profile default]\nb=2\n", "[profile a]\n[profile  a]\nx=1\n", "[profile\ta]\nx=1",
    "[profile]\na=b", "[profile ]\na=b", "[profile a b]\nx=y", "[profilea]\nx=y", "[profilea b]\nx=y", "[profiles b]\nx=y",
    "[profile \"a b\"]\nx=y", "[profile 'a b']\nx=y", "[profile \"a\\\"b\"]\nx=y", "[profile 'a\\b']\nx=y",
    "[profile a\\ b]\nx=y", "[profile \"a\\nb\"]\nx=y", "[profile \"\"]\nx=y", "[profile ''\"\"]\nx=y", "[profile \"a]\nx=y",
    "[profile a\\]\nx=y", "[profile 'it''s']\nx=y", "[profile a\"b c\"d]\nx=y", "[\"profile\" a]\nx=y", "[profile\\ a b]\nx=y",
    "[profile a#b]\nx=y", "[profile \"a]b\"]\nx=y", "[Profile a]\nx=y", " [profile a]\nx=y", "[profile \u00e9\u65e5]\nx=y",
    "[profile a\u00a0b]\nx=y", "[profile\u00a0a]\nx=y", "[profile a\x0bb]\nx=y", "[profile \\\\a]\nx=y", "[profile \"\\\\a\"]\nx=y",
    "[sso-session a]\nx=y", "[sso-session \"a b\"]\nx=y", "[sso-session]\nx=y", "[sso-sessions a]\nx=y", "[services a]\nx=y",
    "[services a]\ns3 =\n  endpoint_url = x\n", "[services 'a b']\nx=y", "[services]\nx=y", "[plugins]\nx=y",
    # Keys and delimiters
    "[a]\nkey\n", "[a]\n= value\n", "[a]\n: value\n", "[a]\n == \n", "[a]\nk = \n", "[a]\nk=\n", "[a]\nk:v\n", "[a]\nk : v\n",
    "[a]\nk=v:w\n", "[a]\nk:v=w\n", "[a]\nk = = v\n", "[a]\nKEY=V\n", "[a]\nKey=1\nkEY=2\n", "[a]\nk=1\nk=2\n", "[a]\nk =1\nk= 2\n",
    "[a]\nthe key = the value\n", "[a]\nk  \t = \t v \t\n", "[a]\nk=v # no comment\n", "[a]\nk=v ; no comment\n", "[a]\nk=#v\n",
    "[a]\nk=\"v\"\n", "[a]\nk='v'\n", "[a]\nk=%(x)s ${y} %\n", "[a]\n#k=v\n;k=v\n", "[a]\n  # k=v\n", "[a]\nk#=v\n", "[a]\nk;x=v\n",
    "[a]\nk=v\\\n", "[a]\nk=v\\\nw=x\n", "[a]\nrem k=v\n", "[a]\nk=" + "v" * 5000, "[a]\n" + "k" * 5000 + "=v",
    "[a]\nk=v", "[a]\nk=v\n\n\n", "[a]\nk=v \n \n", "a=b\n[a]\nc=d\n", "#c\na=b\n", "[a]\nb\n[a]\n",
    # Continuation
    "[a]\nk=v\n w\n", "[a]\nk=v\n\tw\n", "[a]\nk=v\n w\n x\n", "[a]\nk=v\n\n w\n", "[a]\nk=v\n # c\n w\n", "[a]\nk=v\n# c\n w\n",
    "[a]\nk=v\n; c\n\n w\n\n", "[a]\nk=v\n [b]\n", "[a]\nk=v\n l=w\n", "[a]\n k=v\nl=w\n", "[a]\n k=v\n l=w\n", "[a]\n k=v\n  l=w\n",
    "[a]\n  k=v\n l=w\n  m=x\n", "[a]\n    k=v\n[b]\n  l=w\n", "  [a]\n k=v\n l=w\n", "[a]\n w\n", "[a]\n\n  k=v\n   w\n",
    "[a]\nk=v\n[b]\n w=x\n", "[a]\nk=\n\n\n", "[a]\nk=v\n\n\n[b]\n", "[a]\nk=v\n w  \n\t\n x\n", "[a]\nk=v\n \u00a0w\n",
    "[a]\n\u00a0k=v\n w\n", "[a]\n\u00a0k=v\n  w\n", "[a]\n\u3000k=v\n\u3000\u3000w=x\n", "[a]\nk=v\n  #w\n   x\n", "[a]\nk=v\n w\nl=x\n y\n",
    "[a]\nk=v\n w", "[a]\nk=v\n w\n\n  ", "[DEFAULT]\nk=v\n w\n[a]\n",
    # Nested
    "[a]\ns3 =\n  b = c\n", "[a]\ns3 =\n  b = c\n  d = e\nx = y\n", "[a]\ns3=\n b=c=d\n", "[a]\ns3 =\n  b\n", "[a]\ns3 =\n  b = c\n  d\n",
    "[a]\ns3 =\n  b : c\n", "[a]\ns3 =\n  B = c\n  b = d\n", "[a]\ns3 =\n  b = c\n  b = d\n", "[a]\ns3 =\n\n  b = c\n\n\n  d = e\n\n",
    "[a]\ns3 =\n  = c\n", "[a]\ns3 =\n  b =\n", "[a]\ns3 =\n  b =\n  c =\n", "[a]\ns3 =\n  # x\n  b = c\n", "[a]\ns3 =\n  b = c # d\n",
    "[a]\ns3 =\n  b =\n    c = d\n", "[a]\ns3 = x\n  b = c\n", "[a]\ns3 =\n  b = c\u2028d = e\n", "[a]\ns3 =\n  b = c\x0bd = e\x0cf=g\n",
    "[a]\ns3 =\n  b = c\x1cd = e\x1dx = y\x1ez = 0\x1fw = 1\n", "[a]\ns3 =\n  b = c\x85d\n", "[a]\ns3 =\n  b = c\u0085d = e\u2029f = g\n",
    "[a]\ns3 =\n  \u00a0b\u00a0=\u00a0c\u00a0\n", "[DEFAULT]\ns3 =\n  b = c\n[a]\n[b]\ns3 = x\n", "[DEFAULT]\ns3 =\n  b\n",
    "[DEFAULT]\ns3 =\n  b\n[a]\nx=y\n", "[DEFAULT]\ns3 =\n  b\n[a]\ns3=y\n", "[DEFAULT]\ns3 = x\n[a]\ns3 =\n  b = c\n",
    "[DEFAULT]\ns3 =\n  b = c\n[a]\ns3 =\n  d = e\n", "[a]\ns3 =\n  b = c\n[a]\n", "[a]\ns3 =\n  b = c\ns3 =\n  d = e\n",
    # [DEFAULT]
    "[DEFAULT]\nk=v\n[a]\n[b]\nk=w\n", "[a]\n[DEFAULT]\nk=v\n", "[DEFAULT]\nk=v\n[DEFAULT]\nl=w\n[a]\n", "[DEFAULT]\nk=v\n[DEFAULT]\nk=w\n",
    "[DEFAULT]\nk=v\n", "[default]\na=b\n[DEFAULT]\nk=v\n[profile x]\n",
    # Line ends and characters
    "[a]\r\nk=v\r\n w\r\n", "[a]\rk=v\rl=w\r", "[a]\nk=v\r\r\n w\n", "[a]\n\rk=v\n", "[a]\nk=v\x0bw\n", "[a]\nk=\u2028v\n", "[a]\nk=v\u2028\n",
    "\ufeff[a]\nk=v\n", "\ufeff", "\ufeff\n", "\ufeff# c\n[a]\n", "[a]\n\ufeffk=v\n", "[a]\nk=\ufeffv\n", "\n\ufeff[a]\n", "[a]\nk=\u200bv\n",
    "[a]\n\u00a0\nk=v\n", "[a]\nk\u00a0=\u00a0v\u00a0\n", "[a]\nk=v\u1680\u2003\u202f\u205f\u3000\n", "\u00a0[a]\u00a0\nk=v\n",
    "[a]\nk=\u00e9\u65e5\U0001f600\n", "[a]\nk=\x01\x7f\n", "[a]\nk=v\x1a\n", "[a]\n\x1fk\x1e=v\n", "\x0c[a]\nk=v\n",
]

BYTES = [b"[a]\nk=\xff\n", b"[a]\nk=\xc3\n", b"\xff\xfe[\0a\0]\0", b"[a]\nk=\xed\xa0\x80\n", b"[a]\nk=\xc0\xaf\n", b"#\x80\n[a]\n"]

PIECES = [
    "[default]", "[profile a]", "[profile \"b c\"]", "[sso-session s]", "[services v]", "[DEFAULT]", "[x]", "[", "]", "=", ":", "#", ";",
    "\n", "\n", "\n", "\n", "\r\n", "\r", " ", " ", "\t", "  ", "k", "key", "K", "s3", "v", "value", "k = v", "region = r", "s3 =\n  b = c",
    "\"", "'", "\\", "\u00a0", "\u2028", "\x85", "\x0b", "\x1c", "\u3000", "\u00e9", "%",
]


def random_files():
    """Pieces in any order; then lines in any order, which are read as a whole more often."""
    rng = random.Random(5)
    for _ in range(300):
        yield "".join(rng.choices(PIECES, k=rng.randrange(1, 25)))
    lines = [piece for piece in PIECES if len(piece) > 1] + ["a = 1", "b: 2", "c=", "  d = 3", " e", "# f", "", "   "]
    for _ in range(300):
        chosen = rng.choices(lines, k=rng.randrange(1, 14))
        yield "\n".join(["[default]"] * rng.randrange(2) + [" " * rng.randrange(3) + line for line in chosen])


def mutations():
    """A good file with a few characters or lines changed."""
    rng = random.Random(53)
    for _ in range(300):
        text = GOOD
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(text))
            change = rng.randrange(4)
            if change == 0:
                text = text[:at] + text[at + rng.randrange(1, 4):]
            elif change == 1:
                text = text[:at] + rng.choice(PIECES) + text[at:]
            elif change == 2:
                lines = text.split("\n")
                line = rng.randrange(len(lines))
                lines.insert(rng.randrange(len(lines)), lines[line] if rng.random() < 0.3 else lines.pop(line))
                text = "\n".join(lines)
            else:
                text = text.replace(rng.choice(["\n", " ", "=", "[", "]"]), rng.choice(PIECES), rng.randrange(1, 3))
        yield text


def services_of(sections):
    """What newer releases of botocore make of [services x]; that of Debian 12 doesn't know them."""
    found = {}
    for name, values in sections.items():
        if name.startswith("services"):
            try:
                words = shlex.split(name)
            except ValueError:
                continue
            if len(words) == 2:
                found[words[1]] = values
    return found


def read_by_botocore(path):
    """What the file says, or None for an error."""
    try:
        loaded = configloader.load_config(str(path))
        sections = configloader.raw_config_parse(str(path))
    except ConfigParseError:
        return None
    return {"profiles": loaded["profiles"], "sso_sessions": loaded["sso_sessions"], "services": services_of(sections),
            "sections": sections}


def read_by_us(paths):
    """The same for many files at once, errors as they are."""
    environ = {**os.environ, "ASAN_OPTIONS": os.environ.get("TOKENFS_ASAN_OPTIONS", ""),
               "UBSAN_OPTIONS": os.environ.get("TOKENFS_UBSAN_OPTIONS", "")}
    run = subprocess.run([DUMP, *paths], capture_output=True, check=False, timeout=mounting.HANG, env=environ)
    assert (run.returncode, run.stderr) == (0, b"")
    return [json.loads(line) for line in run.stdout.decode().split("\n")[:-1]]


def compare(directory, contents):
    """Reads all contents both ways. Returns how many were read, and how many refused."""
    paths = []
    for number, content in enumerate(contents):
        paths.append(directory / f"{number}")
        paths[-1].write_bytes(content if isinstance(content, bytes) else content.encode())
    refused = 0
    for path, ours in zip(paths, read_by_us(paths), strict=True):
        theirs = read_by_botocore(path)
        if theirs is None:
            assert re.fullmatch(rf"{re.escape(str(path))}, line \d+: [^\n]+", ours.get("error", "")), (path.read_bytes(), ours)
            refused += 1
        else:
            assert ours == theirs, path.read_bytes()
    return len(paths) - refused, refused


@pytest.mark.core
def test_handwritten(directory):
    """The corner cases."""
    read, refused = compare(directory, CASES + BYTES + [GOOD])
    assert read > 100 and refused > 30


@pytest.mark.core
def test_random(directory):
    """Random files: some are read, some refused, all as botocore does."""
    read, refused = compare(directory, random_files())
    assert read > 50 and refused > 50


@pytest.mark.core
def test_mutations(directory):
    """Damaged good files."""
    read, refused = compare(directory, mutations())
    assert read > 50 and refused > 50


@pytest.mark.parametrize("content, line, what", [
    ("[a]\nb\n", 2, "neither"), ("[a]\n\n[b\n", 3, "without its ]"), ("\n\nx=y\n", 3, "before the first"),
    ("[a]\n=x\n", 2, "without a key"), ("[a]\nb=1\nc=2\nB=3\n", 4, "line 2"), ("[a]\n[b]\n[a]\n", 3, "line 1"),
    ("[a]\r\nb=1\r\ns3 =\r\n  x\r\n", 3, "nested"), ("\ufeff[a]\n", 1, "byte order mark"),
    (b"[a]\rb=\xff\r", 2, "UTF-8"), (b"[a]\nb=1\nc=\0", 3, "NUL"), ("[DEFAULT]\nb=1\nb=2\n", 3, "line 2"),
    ("[DEFAULT]\ns3=\n  x\n[a]\n", 2, "nested"),
])
def test_errors_say_where(directory, content, line, what):
    """The line and the reason are the right ones."""
    path = directory / "config"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    message = read_by_us([path])[0]["error"]
    assert message.startswith(f"{path}, line {line}: ") and what in message


@pytest.mark.parametrize("content", [
    f"{SECRET}\n", f"[default]\n{SECRET}\n", f"[default]\n{SECRET}=\n{SECRET}=\n", f"[{SECRET}\n", f"[{SECRET}]\n[{SECRET}]\n",
    f"[default]\ns3 =\n  {SECRET}\n", f"[default]\n={SECRET}\n", f"[default]\nx={SECRET}\0\n",
])
def test_errors_quote_nothing(directory, content):
    """Whatever was put in the wrong place may be a key."""
    path = directory / "config"
    path.write_text(content, encoding="utf-8")
    message = read_by_us([path])[0]["error"]
    assert SECRET.lower() not in message.lower()
