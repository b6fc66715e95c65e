"""Secrets that were dropped are nowhere any more: not in the memory of any of our processes, not in logs, arguments or
environments, not in a core file. While they are there, they are where no swap and no dump takes them.

The kernel's page cache holds a file's bytes while they are fresh; it is not searched here (nobody but root reads it).
"""

import http.server
import json
import os
import pathlib
import signal
import threading
import time

import pytest
from memory_search import family, flags_at, search
from mounting import HANG, SANITIZED, kill, until
from resolver import Resolver

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT ROOT: the memory of the processes was NOT searched"),
    pytest.mark.skipif(SANITIZED, reason="UNDER SANITIZERS freed memory is kept aside: the memory was NOT searched"),
]
FAST = {"ttl": 0.3, "stale": 0, "negative_ttl": 0.2, "timeout": 5}


def planted(name):
    """A value that can be recognised, and that nothing else is like."""
    return f"PLANTED-{name}-" + os.urandom(12).hex()


def forms(**secrets):
    """What to look for: the bytes, and what tells of them when they were cut or came in another shape."""
    found = {}
    for name, text in secrets.items():
        found[name] = text.encode()
        found[f"{name}, its second half"] = text[len(text) // 2:].encode()
    return found


def check_gone(pids, needles, limit=20, allowed=lambda hit: False):
    """Waits until none of them is anywhere (a superseded version is kept for some seconds); then tells where, if not."""
    end = time.monotonic() + limit
    while hits := [hit for hit in search(pids(), needles) if not allowed(hit)]:
        assert time.monotonic() < end, "\n".join(map(str, hits[:20]))
        time.sleep(0.5)


def write_keys(fs, name, secret, session):
    """The shared credentials file, replaced by renaming."""
    directory = pathlib.Path(fs.home) / ".aws"
    directory.mkdir(exist_ok=True)
    (directory / "new").write_text(f"[default]\naws_access_key_id = {name}\naws_secret_access_key = {secret}\n"
                                   f"aws_session_token = {session}\n")
    (directory / "new").rename(directory / "credentials")


@pytest.fixture(params=[None, "good"], ids=["http", "https"])
def service(request):
    """The stand-in, in the clear and by TLS (OpenSSL has buffers of its own)."""
    with Resolver(tls=request.param) as running:
        yield running


def test_the_search_finds(mount, resolver, directory):
    """While a token is fresh its value is in the worker, in locked memory that no dump takes, and nowhere else."""
    value = planted("fresh")
    token = resolver.add_token(value=value, name="web")
    fs = mount(ttl=600)
    assert fs.text(token["id"], "value") == value
    assert fs.text(".by_name", "web", "value") == value
    assert json.loads(fs.text(token["id"], ".json"))["value"] == value
    hits = search(fs.worker, forms(value=value))
    assert hits, "the search finds nothing: it proves nothing"
    locked = fs.status()["worker"]["memoryLocked"]
    for hit in hits:
        flags = flags_at(fs.worker, hit.address)
        assert "dd" in flags, f"would be dumped: {hit}"
        assert "lo" in flags or not locked, f"may be swapped: {hit}"
    assert not search(fs.pid, forms(value=value)), "the supervisor has no secrets"


@pytest.mark.parametrize("how", ["changed", "deleted", "denied", "SIGHUP"])
def test_values_that_were_dropped(mount, service, how):
    """However a value ends, after some seconds no process has a byte of it."""
    value = planted(how)
    token = service.add_token(value=value, name="web")
    fs = mount(environ=service.environ(), **(FAST if how != "SIGHUP" else {"ttl": 600}))
    for name in ("value", ".json", "arn"):
        assert value == fs.text(token["id"], "value") and fs.read(token["id"], name)
    assert fs.text(".by_name", "web", "value") == value
    assert search(fs.worker, forms(value=value))
    if how == "changed":
        service.update_token(token["id"], value="harmless")
        until(lambda: fs.text(token["id"], "value") == "harmless" == fs.text(".by_name", "web", "value"), "the change")
    elif how == "deleted":
        service.delete_token(token["id"])
        until(lambda: fs.read_error(token["id"], "value") == "ENOENT", "the end")
    elif how == "denied":
        service.deny(token=token["id"])
        until(lambda: fs.read_error(token["id"], "value") == "EACCES", "the end")
    else:
        fs.forget()
    check_gone(lambda: family(fs.pid), forms(value=value))
    assert value not in fs.log()


def test_values_of_failed_answers(mount, service):
    """Answers that were refused (too long, cut, for another token, nested, with a NUL …) leave nothing either."""
    value = planted("refused")
    token = service.add_token(value=value)
    fs = mount(environ=service.environ(), **FAST)
    for effect, more in (("malformed", {}), ("cut", {}), ("wrong_id", {}), ("duplicate", {"field": "value"}),
                         ("deep", {}), ("nul", {"field": "name"}), ("invalid_utf8", {"field": "name"}),
                         ("content_type", {"content_type": "text/html"}), ("huge", {"size": 4 << 20}),
                         ("hang", {"when": "middle"}), ("reset", {"when": "middle"})):
        fault = service.add_fault(effect, operation="GetAccessToken", **more)
        fs.read_error(token["id"], "value")
        service.remove_fault(fault)
    service.update_token(token["id"], value="harmless")
    until(lambda: fs.read_error(token["id"], "value") == "OK" and fs.text(token["id"], "value") == "harmless",
          "recovery")
    check_gone(lambda: family(fs.pid), forms(value=value))
    assert value not in fs.log()


def test_keys_of_the_shared_file(mount, service):
    """Keys that were replaced in the file: the secret and the session token are gone after SIGHUP, and from then on."""
    secret, session = planted("secret-key"), planted("session-token")
    token = service.add_token()
    service.add_key("ASIAPLANTED000000001", secret, session_token=session)
    service.add_key("ASIAPLANTED000000002", "another/secret/key", session_token="another/session")
    fs = mount(start=False, environ={**service.environ(), "AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None})
    write_keys(fs, "ASIAPLANTED000000001", secret, session)
    fs.start({"ttl": 0.2, "log_level": "debug"})
    assert fs.text(token["id"], "value") == token["value"]
    needles = forms(secret=secret, session=session)
    hits = search(family(fs.pid), needles)
    assert hits and {hit.pid for hit in hits} <= set(family(fs.worker)), "the supervisor has no keys of files"
    assert all("dd" in flags_at(hit.pid, hit.address) for hit in hits), "\n".join(map(str, hits))
    write_keys(fs, "ASIAPLANTED000000002", "another/secret/key", "another/session")
    fs.forget()
    assert fs.text(token["id"], "value") == token["value"]
    check_gone(lambda: family(fs.pid), needles)
    assert secret not in fs.log() and session not in fs.log()


def test_keys_of_the_environment(mount, service):
    """They are there by nature while the process is: in what the kernel put on the stack at its start, which only root
    and its owner may read, and, in the worker, in the secret heap. Nowhere else, whatever was done with them."""
    secret, session = planted("secret-env"), planted("session-env")
    token = service.add_token()
    service.add_key("ASIAPLANTED000000003", secret, session_token=session)
    fs = mount(ttl=0.2, environ={**service.environ(), "AWS_ACCESS_KEY_ID": "ASIAPLANTED000000003",
                                 "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": session})
    assert fs.text(token["id"], "value") == token["value"]
    fs.forget()
    assert fs.text(token["id"], "arn") == token["arn"]
    time.sleep(1)

    def by_nature(hit):
        return hit.mapping == "[stack]" or (hit.pid == fs.worker and "dd" in flags_at(hit.pid, hit.address))

    assert search(fs.pid, forms(secret=secret))
    check_gone(lambda: family(fs.pid), forms(secret=secret, session=session), allowed=by_nature)
    assert secret not in fs.log() and session not in fs.log()


class Container(http.server.BaseHTTPRequestHandler):
    """The credentials of a container, for who has the token."""
    keys = {}

    def do_GET(self):                       # pylint: disable=invalid-name
        """One answer."""
        good = self.headers.get("Authorization") == self.server.token
        body = json.dumps(self.server.keys if good else {}).encode()
        self.send_response(200 if good else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):              # pylint: disable=arguments-differ
        """Quiet."""


def test_keys_of_a_container(mount, resolver, directory):
    """The authorization token and the keys that it gave: gone once both were replaced."""
    secret, session, bearer = planted("container-key"), planted("container-session"), planted("authorization")
    token = resolver.add_token()
    resolver.add_key("ASIAPLANTED000000004", secret, session_token=session)
    resolver.add_key("ASIAPLANTED000000005", "another/secret/key", session_token="another/session")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Container)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def give(bearer, id, secret, session):
        server.token = bearer
        server.keys = {"AccessKeyId": id, "SecretAccessKey": secret, "Token": session,
                       "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 7200))}
        (directory / "new").write_text(bearer)
        (directory / "new").rename(directory / "authorization")

    try:
        give(bearer, "ASIAPLANTED000000004", secret, session)
        fs = mount(ttl=0.2, environ={
            "AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{server.server_port}/keys",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(directory / "authorization")})
        assert fs.text(token["id"], "value") == token["value"]
        assert search(fs.worker, forms(secret=secret))
        give("another-authorization", "ASIAPLANTED000000005", "another/secret/key", "another/session")
        fs.forget()
        assert fs.text(token["id"], "value") == token["value"]
        check_gone(lambda: family(fs.pid), forms(secret=secret, session=session, bearer=bearer))
        assert not any(text in fs.log() for text in (secret, session, bearer))
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("sandbox", ["on", "off"])
def test_credential_process(mount, resolver, directory, sandbox):
    """It works in the sandbox too; it sees no token, no other secret and nothing of ours but the environment of the
    mount; what it printed is gone when it printed something else."""
    secret, value = planted("process-key"), planted("value")
    token = resolver.add_token(value=value)
    resolver.add_key("AKIDPLANTED000000006", secret)
    resolver.add_key("AKIDPLANTED000000007", "another/secret/key")
    answer, seen = directory / "answer", directory / "seen"
    script = directory / "process"
    script.write_text(f"#!/bin/sh\n(tr '\\0' '\\n' </proc/$$/environ; echo \"$@\"; ls -l /proc/$$/fd) >>{seen} 2>&1\n"
                      f"cat {answer}\n")
    script.chmod(0o755)

    def prints(id, secret):
        answer.write_text(json.dumps({"Version": 1, "AccessKeyId": id, "SecretAccessKey": secret}))

    fs = mount(start=False, environ={"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None})
    pathlib.Path(fs.home, ".aws").mkdir()
    pathlib.Path(fs.home, ".aws", "config").write_text(f"[default]\ncredential_process = {script} with arguments\n")
    prints("AKIDPLANTED000000006", secret)
    fs.start({"ttl": 0.2, "sandbox": sandbox})
    assert fs.text(token["id"], "value") == value
    prints("AKIDPLANTED000000007", "another/secret/key")
    resolver.update_token(token["id"], value="harmless")
    fs.forget()
    assert fs.text(token["id"], "value") == "harmless"
    told = seen.read_text()
    assert "with arguments" in told and "TOKENFS" not in told
    assert value not in told and secret not in told
    assert "fuse" not in told and "memfd" not in told, told
    check_gone(lambda: family(fs.pid), forms(secret=secret, value=value))


def test_what_others_can_see(mount, resolver):
    """Arguments, environment, limits, and the owner of /proc/PID: not dumpable, no core file, for both."""
    value = planted("seen")
    token = resolver.add_token(value=value)
    fs = mount(ttl=600, user="nobody")
    assert fs.text(token["id"], "value") == value
    for pid in family(fs.pid):
        process = pathlib.Path(f"/proc/{pid}")
        assert value.encode() not in (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        limit = next(line for line in (process / "limits").read_text().splitlines() if "core file" in line)
        assert limit.split()[4:6] == ["0", "0"], limit
        # Of a process that can be dumped it would be the process' own user.
        assert os.stat(process / "mem").st_uid == 0
    assert b"Uid:\t65534" in pathlib.Path(f"/proc/{fs.worker}/status").read_bytes()


def test_no_core(mount, resolver, token):
    """A crash leaves no core file, nor a process that is to write one."""
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip()
    fs = mount()
    assert fs.text(token["id"], "value") == token["value"]
    fs.may_restart = True
    where = [pathlib.Path("/"), pathlib.Path(os.path.dirname(pattern) or "/")] if pattern[:1] != "|" else []
    before = {path for directory in where for path in directory.glob("*core*")}
    old = fs.worker
    kill(old, signal.SIGSEGV)
    until(lambda: fs.status()["worker"]["restarts"] == 1, "the next worker", limit=HANG)
    assert before == {path for directory in where for path in directory.glob("*core*")}
    assert not list(fs.directory.glob("core*"))


def test_memory_of_a_worker_that_died(mount, resolver):
    """Nothing of what a dead worker knew is in the supervisor, in the next worker, or in what they share."""
    value = planted("died")
    token = resolver.add_token(value=value, name="web")
    fs = mount(ttl=600)
    assert fs.text(token["id"], "value") == value and fs.text(".by_name", "web", "value") == value
    fs.may_restart = True
    old = fs.worker
    kill(old)
    until(lambda: fs.worker != old and fs.status()["worker"]["restarts"] == 1, "the next worker")
    assert not search(family(fs.pid), forms(value=value))
