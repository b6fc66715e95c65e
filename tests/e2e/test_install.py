"""What is installed: the files, the manual page, the completion, the Debian package."""

import errno
import json
import os
import pathlib
import pty
import re
import select
import shutil
import subprocess

import pytest

import boxed
from mounting import BINARY, FIELDS, TREE, until
from tools import need, run

BUILD = pathlib.Path(BINARY).parent.parent
DIST = BUILD / "src/dist"
INSTALLED = {
    "usr/local/sbin/tokenfs", "sbin/mount.tokenfs", "usr/local/share/man/man8/tokenfs.8",
    "usr/local/share/man/man8/mount.tokenfs.8", "usr/local/share/man/man7/tokenfs-recipes.7",
    "usr/local/share/man/man7/tokenfs-containers.7", "usr/local/share/bash-completion/completions/tokenfs",
    "usr/local/share/zsh/site-functions/_tokenfs", "usr/local/share/fish/vendor_completions.d/tokenfs.fish",
    "usr/local/lib/systemd/system/tokenfs-repair.service", "usr/local/lib/systemd/system/tokenfs-repair.timer",
    "usr/local/libexec/tokenfs/instances", "usr/local/lib/systemd/system/tokenfs@.service", "usr/local/lib/sysusers.d/tokenfs.conf",
    "usr/local/lib/tmpfiles.d/tokenfs.conf", "usr/local/share/doc/tokenfs/README.md",
    "usr/local/share/doc/tokenfs/NEWS", "usr/local/share/doc/tokenfs/session.svg", "usr/local/share/doc/tokenfs/ratios.svg", "usr/local/share/doc/tokenfs/fleet.svg",
}


def test_meson_install(directory):
    """Every file at its place, both names of the program, nothing that can be written by others."""
    run("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", directory / "root")
    root = directory / "root"
    found = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() or path.is_symlink()}
    examples = {name for name in found if "/doc/tokenfs/examples/" in name}
    assert found - examples == INSTALLED
    kept = TREE / "src/dist/examples"
    assert {name.partition("/doc/tokenfs/examples/")[2] for name in examples} == \
        {str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file()}
    assert os.readlink(root / "sbin/mount.tokenfs") == "/usr/local/sbin/tokenfs"
    assert "/usr/local/sbin/tokenfs -f" in (root / "usr/local/lib/systemd/system/tokenfs@.service").read_text()
    for path in root.rglob("*"):
        assert path.is_symlink() or not path.stat().st_mode & 0o022, path


def test_install_outside_of_usr(directory):
    """A prefix that is not under /usr keeps the mount helper, too: nothing is written beside it."""
    run("meson", "setup", directory / "build", TREE, "--prefix", directory / "prefix")
    placed = json.loads(run("meson", "introspect", "--installed", directory / "build").stdout).values()
    assert str(directory / "prefix/sbin/mount.tokenfs") in placed
    assert all(path.startswith(str(directory / "prefix/")) for path in placed), placed


# The manual page.

@pytest.mark.parametrize("name", ["tokenfs.8", "tokenfs-recipes.7", "tokenfs-containers.7"])
def test_pages_are_clean(name):
    """mandoc and man-db have no complaint."""
    need("mandoc", "man")
    lint = run("mandoc", "-T", "lint", "-W", "all", DIST / name, check=False)
    assert lint.stdout == "" and lint.stderr == ""
    warned = run("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", DIST / name,
                 env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80"})
    assert warned.stderr == ""


def page():
    """The page's source without fonts and escapes."""
    text = (DIST / "tokenfs.8").read_text()
    return re.sub(r"\\f[BIRP]|\\&", "", text).replace("\\-", "-")


def options_of_help():
    """{name: (argument, default)} as -h shows them, from the program's table."""
    found = {}
    for line in run(BINARY, "-h").stdout.split("Options (")[1].splitlines():
        if match := re.match(r"  ([a-z_]+)(?:=(\S+))?\s+(.*)", line):
            name, argument, text = match.groups()
            default = re.search(r"\(([^()]*)\)$", text)
            found[name] = (argument, default[1] if default else None)
    return found


def options_of_page():
    """{name: (argument, default)} from the section OPTIONS."""
    section = re.split(r"(?m)^\.SH ", page())
    text = next(part for part in section if part.startswith("OPTIONS"))
    found = {}
    for part in re.split(r"(?m)^\.TP\n", text)[1:]:
        tags, rest = [], part.split("\n")
        while True:
            tags.append(rest.pop(0))
            if not rest or rest[0] != ".TQ":
                break
            rest.pop(0)
        default = re.search(r"^Default: (.*?)\.$", "\n".join(rest), re.M)
        for tag in tags:
            match = re.fullmatch(r"\.B[I]? ([a-z_]+)(?:= ?(\S+))?", tag)
            assert match, tag
            found[match[1]] = (match[2], default[1] if default else None)
    return found


def test_page_has_the_options():
    """Names, arguments and defaults are those of the program's table, in both directions."""
    there, here = options_of_help(), options_of_page()
    assert there.keys() == here.keys()
    assert len(there) > 20
    for name, (argument, default) in there.items():
        assert here[name][0] == argument, name
        # The help has more in brackets than defaults; what is a number, an octal mode or a word of a set is one.
        if default and re.fullmatch(r"\d+|on|info|mounting user|tokenfs", default):
            assert here[name][1] == default, name
        else:
            assert here[name][1] is None, name


def test_page_has_the_errors():
    """Each errno that a reader can get, with the words that a reader sees."""
    source = set(re.findall(r"return (E[A-Z]+);", (TREE / "src/fs/errno.c").read_text()))
    there = dict(re.findall(r'(?m)^\.BR (E[A-Z]+) ": (.*)"$', page()))
    assert there.keys() == source | {"EINTR", "EROFS", "ESTALE", "EIO", "ENOTCONN"}
    assert there == {name: os.strerror(getattr(errno, name)) for name in there}


def test_page_has_the_metrics(mount, resolver, token):
    """Each metric that there is, and no other."""
    fs = mount()
    fs.ls(".by_name")
    fs.read(token["id"], "value")
    text = fs.text(".service_metrics")
    sometimes = {"tokenfs_credentials_expiry_timestamp_seconds", "tokenfs_persist_reads_total"}
    there = set(re.findall(r"(?m)^# TYPE (\w+)", text))
    assert set(re.findall(r"tokenfs_\w+", page())) - sometimes == there


def test_page_has_the_rest():
    """Every field, switch and signal."""
    text = page()
    for field in FIELDS:
        assert re.search(rf"\b{field}\b", text), field
    for switch in set(re.findall(r"--[a-z-]+", run(BINARY, "-h").stdout)):
        assert switch in text, switch
    for name in ("SIGHUP", "SIGTERM", "SIGUSR2", ".service_status", ".service_metrics", ".by_name", ".json"):
        assert name in text, name


def test_page_has_a_true_sample(resolver, token):
    """The sample of --check has the steps, the marks and the remedy that the program prints."""
    resolver.deny(operation="GetAccessToken")
    done = run(BINARY, "--check", "-o", "ttl=30", token["id"], check=False, env={**os.environ, **resolver.environ()})
    text = re.search(r"(?s)# tokenfs --check -o ttl=30.*?1 step failed", page())[0]

    def steps(output):
        return re.findall(r"(?m)^([✓✗–] \S.{14})", output)

    assert steps(text) == steps(done.stdout) and len(steps(text)) > 8
    remedy = re.search(r"(?s)→ (.*?)\n\n", text)[1]
    assert " ".join(remedy.split()) in done.stdout and text.endswith(done.stdout.strip().split("\n")[-1][:-1])


SECTIONS = ["Try it, test it", "What you need", "Install", "The first mount", "Which way of mounting", "Names and rotation",
            "Monitoring", "Operating", "When it doesn't work", "Fleets", "Security", "Figures", "Building from source"]


def test_readme():
    """Short, in the order in which people need it; what it says of options and of messages is so."""
    text = (TREE / "README.md").read_text()
    assert text.count("\n") <= 250
    assert re.findall("(?m)^## (.*)$", text) == SECTIONS
    options = options_of_help()
    for name in re.findall(r"`([a-z_]+)=[^`]*`", text):
        assert name in options or name in ("After", "Requires"), name
    for words in re.findall(r"-o ([a-z_]+=[^ `]+)", text):
        for name in re.findall(r"(?:^|,)([a-z_]+)", words):
            assert name in options, words
    trouble = text.split("## When it doesn't work")[1].split("## ")[0]
    messages = {os.strerror(number) for number in errno.errorcode}
    said = [message for line in re.findall(r"(?m)^\| (`.*?`) \|", trouble) for message in re.findall("`(.*?)`", line)]
    assert len(said) >= 8
    assert set(said) - messages == {"unknown filesystem type 'tokenfs'"}


def test_readme_by_hand(directory):
    """What it says to type, as it stands: a token's value is what comes out, and nothing is left."""
    text = (TREE / "README.md").read_text()
    block = re.search(r"(?s)\n(tests/resolver.py --environ.*?)```", text)[1]
    block = block.replace("build/src/tokenfs", BINARY).replace("/tmp/tokens", f"{directory}/tokens")
    block = block.replace("/tmp/standin", f"{directory}/standin")
    done = run("bash", "-c", block, cwd=TREE, env={"PATH": os.environ["PATH"], "HOME": str(directory), "LC_ALL": "C.UTF-8"})
    made, _, value = done.stdout.strip().rpartition("\n")
    assert json.loads(made)["value"] == value
    assert f"{directory}/tokens" not in pathlib.Path("/proc/self/mountinfo").read_text()


def test_readme_as_installed(directory):
    """Nothing of it needs the source, and the files that it names are there."""
    run("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", directory)
    place = directory / "usr/local/share/doc/tokenfs"
    text = (place / "README.md").read_text()
    assert not re.search(r"(?<![\w/])(src|tests)/", text) and "<!--" not in text
    assert [re.fullmatch("## (.*)", line)[1] for line in text.splitlines() if line.startswith("## ")] == SECTIONS[1:-1]
    named = re.findall(r"/usr/local/share/doc/tokenfs/[\w./-]*\w", text)
    assert len(named) >= 3
    for name in named:
        assert (directory / name[1:]).exists(), name
    for name in re.findall(r"]\(([^)]*)\)", text):
        assert (place / name).is_file(), name


# The completion.

def complete(line, environ=None, words=None):
    """What bash would offer at the end of this line."""
    script = ("compopt() { :; }; COMP_WORDBREAKS=$4; . \"$1\"; COMP_LINE=$2; COMP_POINT=${#2}; read -ra COMP_WORDS <<<\"$2\"; "
              "[[ $2 == *' ' ]] && COMP_WORDS+=(''); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _tokenfs \"$3\"; "
              "printf '%s\\n' \"${COMPREPLY[@]}\"")
    done = run("bash", "-c", script, "bash", TREE / "src/dist/tokenfs.bash", line, BINARY,
               words or " \t\n\"'><=;|&(:", env={**os.environ, **(environ or {})})
    assert done.stderr == ""
    return set(done.stdout.split())


def test_completion(directory):
    """Options, their values, profiles of both files, switches, directories; files to wait for."""
    options = complete("tokenfs -o ")
    assert options == {name + ("=" if argument else "") for name, (argument, _) in options_of_help().items()}
    assert complete("tokenfs -o ttl=5,negative") == {"ttl=5,negative_ttl="}
    assert complete("tokenfs -o log_level=") == {"error", "warning", "info", "debug"}
    assert complete("tokenfs -o audit,log_level=w") == {"warning"}
    assert complete("tokenfs -o audit,log_level=w", words=" \t\n") == {"audit,log_level=warning"}
    assert complete("tokenfs -o uid=roo") == {"root"}
    assert {"-f", "--check", "--mount-only", "--help"} <= complete("tokenfs -")
    (directory / "config").write_text("[default]\n[profile web]\nregion=x\n[sso-session s]\n[profile \"two words\"]\n")
    (directory / "credentials").write_text("[web]\n[other]\n")
    files = {"AWS_CONFIG_FILE": str(directory / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(directory / "credentials")}
    profiles = complete("tokenfs -o profile=", files)
    assert {"default", "web", "other"} <= profiles and "s" not in profiles and "sso-session" not in profiles
    (directory / "place").mkdir()
    (directory / "plain").touch()
    assert complete(f"tokenfs {directory}/pl") == {str(directory / "place")}
    assert complete(f"tokenfs --wait {directory}/pl") == {str(directory / "place"), str(directory / "plain")}


def test_completion_for_fish(directory):
    """Options with what is said of them, behind a comma as well; values; ids are offered to --check, files to --wait."""
    need("fish")
    path = f"PATH={pathlib.Path(BINARY).parent}:{os.environ['PATH']}"

    def fish(line):
        done = run("env", path, f"HOME={directory}", "fish", "--no-config", "-c",
                   f"source {TREE}/src/dist/tokenfs.fish; complete -C '{line}'")
        return dict((line + "\t").split("\t")[:2] for line in done.stdout.splitlines())

    assert fish("tokenfs -o ").keys() == {name + ("=" if argument else "") for name, (argument, _) in options_of_help().items()}
    assert fish("tokenfs -o ttl=5,negat") == {"ttl=5,negative_ttl=": 'how long "no such token" is remembered (5)'}
    assert fish("tokenfs -o audit,log_level=w").keys() == {"audit,log_level=warning"}
    assert {"--check", "--wait", "--mount-only"} <= fish("tokenfs --").keys()
    (directory / "place").mkdir()
    (directory / "plain").touch()
    assert fish(f"tokenfs {directory}/pl").keys() == {f"{directory}/place/"}
    assert fish(f"tokenfs --wait {directory}/pl").keys() == {f"{directory}/place/", f"{directory}/plain"}


def test_completion_for_zsh(directory):
    """The same, as it is typed."""
    need("zsh")
    (directory / "place").mkdir()
    (directory / ".zshrc").write_text(f"PS1='> '; fpath=({TREE}/src/dist $fpath); autoload -Uz compinit; compinit -u; "
                                      "unsetopt list_beep prompt_sp; zstyle ':completion:*' menu no\n")
    main, other = pty.openpty()
    environ = {"PATH": f"{pathlib.Path(BINARY).parent}:{os.environ['PATH']}", "HOME": str(directory), "TERM": "dumb",
               "ZDOTDIR": str(directory)}
    with subprocess.Popen(["zsh", "-i"], stdin=other, stdout=other, stderr=other, env=environ, start_new_session=True) as zsh:
        seen = ""

        def typed(text, expected):
            nonlocal seen
            os.write(main, text.encode())
            seen = ""

            def is_there():
                nonlocal seen
                if select.select([main], [], [], 0)[0]:
                    seen += os.read(main, 65536).decode(errors="replace")
                return expected in seen

            until(is_there, f"{text!r} → {expected!r}")

        try:
            typed("", "> ")
            typed("tokenfs -o ttl=5,negat\t", "ttl=5,negative_ttl=")
            typed("\x15tokenfs -o audit,log_level=w\t", "log_level=warning")
            typed("\x15tokenfs --mou\t", "--mount-only")
            typed(f"\x15tokenfs {directory}/pl\t", f"{directory}/place/")
            typed("\x15tokenfs -o ttl\t", "ttl=")
        finally:
            zsh.kill()
            os.close(main)
            os.close(other)


def test_examples_are_read(directory):
    """The fstab example by findmnt, the JSON by a parser; what they name exists as an option."""
    options = options_of_help().keys()
    lines = [line.split() for line in (TREE / "src/dist/examples/fstab").read_text().splitlines()
             if line and not line.startswith("#")]
    assert lines
    for line in lines:
        assert len(line) == 6 and line[2] == "tokenfs"
        for word in line[3].split(","):
            name = word.split("=")[0]
            assert name in options or name in ("noauto", "user", "nofail", "_netdev") or name.startswith("x-"), word
    verified = run("findmnt", "--verify", "--tab-file", TREE / "src/dist/examples/fstab", check=False)
    assert "0 parse errors" in verified.stdout + verified.stderr
    for path in (TREE / "src/dist/examples").glob("*.json"):
        json.loads(path.read_text())
    assert directory.exists()
