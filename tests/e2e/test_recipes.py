"""The programs of tokenfs-recipes(7), each on a real mount: what it sees, and what it sees after a rotation."""

import base64
import http.server
import os
import pathlib
import socket
import subprocess
import threading
import urllib.parse
import urllib.request

import pytest

import systemd_rig
from mounting import HANG, until
from test_monitoring import Prometheus, free_port
from tools import need

OWNER = 1      # a user that there is: ssh asks


def rotate(resolver, token, fs, value):
    """A new token of that name; comes back when the mount shows it."""
    resolver.rotate_token(token["id"], value=value)
    until(lambda: fs.text(".by_name", token["name"], "value") == value, "the rotation")


@pytest.fixture
def start():
    """Starts servers, which are killed after the test."""
    made = []

    def make(*command, **more):
        made.append(subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, start_new_session=True, **more))
        return made[-1]

    yield make
    for process in made:
        try:
            os.killpg(process.pid, 9)
        except ProcessLookupError:
            pass
        process.wait(HANG)


def get(port, path="/"):
    """What a server of ours answers; None while it can't."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.read().decode()
    except OSError:
        return None


NGINX = """
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{}}
http {{
    access_log off;
    open_file_cache max=100;
    open_file_cache_valid 1h;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location /token/ {{
            alias {mount}/.by_name/web/;
            open_file_cache off;
        }}
    }}
}}
"""


def test_nginx(mount, resolver, token, directory, start):
    """Without its cache of open files, nginx serves the whole of the new token."""
    program = need("nginx")
    fs = mount(ttl=0.5, allow_other=True, secret_mode="0444")
    port = free_port()
    (directory / "nginx.conf").write_text(NGINX.format(directory=directory, port=port, mount=fs.path))
    start(program, "-c", directory / "nginx.conf", "-e", directory / "nginx.log", "-p", directory)
    until(lambda: get(port, "/token/value") == token["value"], "nginx")
    rotate(resolver, token, fs, "another value, longer than the one before: " + "x" * 40)
    assert get(port, "/token/value") == fs.text(".by_name", "web", "value")


HAPROXY = """
global
    stats socket {directory}/haproxy.sock level admin
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend web
    bind 127.0.0.1:{port}
    http-request return status 200 content-type text/plain lf-string "%[str(token),map({directory}/token.map)]"
"""


def test_haproxy(mount, resolver, token, directory, start):
    """A map file that is written again, and a reload of the master process."""
    program = need("haproxy")
    fs = mount(ttl=0.5)
    port = free_port()

    def write_map():
        fs.run("sh", "-c", f'umask 077; printf "token %s\\n" "$(cat {fs.path}/.by_name/web/value)" >{directory}/token.map')

    write_map()
    (directory / "haproxy.cfg").write_text(HAPROXY.format(directory=directory, port=port))
    process = start(program, "-W", "-q", "-f", directory / "haproxy.cfg")
    until(lambda: get(port) == token["value"], "haproxy")
    rotate(resolver, token, fs, "the-next-value-for-haproxy")
    write_map()
    process.send_signal(12)
    until(lambda: get(port) == "the-next-value-for-haproxy", "the reload")


@pytest.mark.parametrize("program, words", [("envdir", []), ("chpst", ["-e"]), ("s6-envdir", [])])
def test_environment(mount, token, program, words):
    """One variable a field, of a token's directory by its id."""
    path = need(program)
    fs = mount(ttl=30)
    fs.read(token["id"], "value")
    said = fs.run(path, *words, fs.at(token["id"]), "env").stdout.decode().splitlines()
    assert {f"value={token['value']}", f"id={token['id']}", "name=web"} <= set(said)


def test_systemd_credentials(mount, resolver, token, directory):
    """LoadCredential= of a directory: one credential a file, named after both; of a name's file."""
    if why_not := systemd_rig.why_not():
        pytest.skip(f"NO SYSTEMD HERE: {why_not}")
    fs = mount(ttl=30, allow_other=True)
    fs.ls(".by_name")
    unit = directory / "consumer.service"
    unit.write_text("[Service]\nType=oneshot\nRemainAfterExit=yes\n"
                    f"LoadCredential=tok:/run/tokens/{token['id']}\nLoadCredential=token:/run/tokens/.by_name/web/value\n"
                    f"EnvironmentFile=/run/tokens/{token['id']}/value\n"
                    f"ExecStart=/bin/sh -c 'cat $CREDENTIALS_DIRECTORY/tok_id $CREDENTIALS_DIRECTORY/tok_value $CREDENTIALS_DIRECTORY/token >{directory}/seen; "
                    f"env >{directory}/env'\n")
    with systemd_rig.Systemd(directory, [unit]) as systemd:
        environ = " ".join(f"{name}='{value}'" for name, value in fs.environ.items())
        systemd.enter("sh", "-c", f"mkdir /run/tokens; {environ} {fs.command('')[0]} -o allow_other,ttl=30 /run/tokens")
        try:
            systemd.ctl("start", "consumer.service")
        finally:
            systemd.enter("umount", "-l", "/run/tokens")
    assert (directory / "seen").read_text() == token["id"] + token["value"] * 2
    assert token["value"] not in (directory / "env").read_text()


def as_owner(fs, *command, **more):
    """Runs a command as the owner of the files; gives all that it says."""
    done = fs.run("setpriv", f"--reuid={OWNER}", f"--regid={OWNER}", "--clear-groups", *command, check=False, **more)
    return (done.stdout + done.stderr).decode()


def test_strict_readers(mount, token):
    """ssh and libpq insist on a file that is the user's alone: uid= gives it to them."""
    need("psql", "ssh-keygen")
    strict = mount(ttl=30, allow_other=True, uid=OWNER)
    loose = mount(ttl=30, allow_other=True, secret_mode="0444")
    for fs, is_refused in ((strict, False), (loose, True)):
        file = fs.at(token["id"], "value")
        environ = {**os.environ, "PGPASSFILE": file, "PGCONNECT_TIMEOUT": "5"}
        assert ("has group or world access" in as_owner(fs, "psql", "-h", "127.0.0.1", "-p", "1", "-U", "u", "d", env=environ)) \
            == is_refused
    # ssh looks at the mode of files that are the caller's own.
    own = mount(ttl=30, allow_other=True, uid=OWNER, secret_mode="0444")
    for fs, is_refused in ((strict, False), (own, True)):
        assert ("UNPROTECTED" in as_owner(fs, "ssh-keygen", "-y", "-f", fs.at(token["id"], "value"))) == is_refused


class Asked(http.server.BaseHTTPRequestHandler):
    """Keeps the Authorization of each request."""

    seen = []

    def do_GET(self):       # pylint: disable=invalid-name
        """A scrape."""
        self.seen.append(self.headers.get("Authorization"))
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()

    def log_message(self, *_):      # pylint: disable=arguments-differ
        """Nothing."""


def test_prometheus(mount, resolver, token, directory):
    """credentials_file is read for each scrape."""
    need("prometheus", "prometheus-node-exporter")
    fs = mount(ttl=0.5)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Asked)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (directory / "textfiles").mkdir()
    Asked.seen.clear()
    try:
        scrape = {"job_name": "x", "static_configs": [{"targets": [f"127.0.0.1:{server.server_port}"]}],
                  "authorization": {"credentials_file": fs.at(".by_name", "web", "value")}}
        with Prometheus(directory, directory / "textfiles", [scrape]):
            until(lambda: f"Bearer {token['value']}" in Asked.seen, "a scrape")
            rotate(resolver, token, fs, "the-next-value-for-prometheus")
            until(lambda: Asked.seen[-1] == "Bearer the-next-value-for-prometheus", "the next token")
    finally:
        server.shutdown()
        server.server_close()


def test_knot_resolver(mount, resolver, token, directory):
    """Its configuration is Lua: io.open reads the token whenever it runs."""
    program = need("kresd")
    fs = mount(ttl=0.5, allow_other=True, secret_mode="0444")
    (directory / "kresd.conf").write_text(
        "modules.load('policy')\nlocal function token()\n"
        f"  local file = assert(io.open('{fs.path}/.by_name/web/value'))\n"
        "  local value = file:read('*a')\n  file:close()\n  return value\nend\n"
        "io.stderr:write('token: ', token(), '\\n')\nquit()\n")
    for value in (token["value"], "the-next-value-for-knot"):
        done = fs.run(program, "-n", "-c", str(directory / "kresd.conf"), str(directory), check=False)
        assert f"token: {value}\n" in done.stderr.decode(), done
        rotate(resolver, token, fs, "the-next-value-for-knot")


def test_files_of_passwords(mount, resolver, token, directory):
    """openssl, gpg and git's credential helper read the file each time."""
    need("openssl", "gpg", "git")
    fs = mount(ttl=0.5)
    value = fs.at(".by_name", "web", "value")
    home = directory / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--pinentry-mode", "loopback", "--passphrase-file"]
    helper = f"!f() {{ echo username=token; echo \"password=$(cat {value})\"; }}; f"
    for turn in range(2):
        token_now = fs.text(".by_name", "web", "value")
        opened = fs.run("sh", "-c", f"echo text | openssl enc -aes-256-cbc -pbkdf2 -pass file:{value} | "
                        f"openssl enc -d -aes-256-cbc -pbkdf2 -pass 'pass:{token_now}'").stdout
        assert opened == b"text\n"
        sealed = directory / f"sealed{turn}"
        (directory / "plain").write_text("text")
        fs.run(*gpg, value, "--symmetric", "-o", str(sealed), str(directory / "plain"))
        assert fs.run(*gpg, value, "--decrypt", str(sealed)).stdout == b"text"
        filled = subprocess.run(["git", "-c", f"credential.helper={helper}", "credential", "fill"], text=True, check=True,
                                input="protocol=https\nhost=x.example\n\n", capture_output=True, timeout=HANG)
        assert f"password={token_now}\n" in filled.stdout
        rotate(resolver, token, fs, "the-next-value-for-all")
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, capture_output=True)


def test_walks(mount, resolver, directory):
    """What looks at sizes asks for each token once; what stays on its filesystem, or prunes the path, for none."""
    need("du", "find", "tree", "updatedb")
    resolver.add_tokens(20)
    fs = mount(ttl=600, timeout=30)
    place = pathlib.Path(fs.path).parent

    def calls_of(*command):
        before = resolver.count("GetAccessToken")
        fs.run(*map(str, command))
        return resolver.count("GetAccessToken") - before

    assert calls_of("ls", "-l", fs.path) == 0
    assert calls_of("du", "-sx", place) == 0
    assert calls_of("find", place, "-xdev", "-size", "+1k") == 0
    database = place / "database"
    assert calls_of("updatedb", "-U", place, "-o", database, "--require-visibility", "no", "--prunepaths", fs.path) == 0
    assert calls_of("find", fs.path, "-size", "+1k") == 20
    fs.forget()
    assert calls_of("tree", "-s", fs.path) == 20


@pytest.mark.parametrize("program", ["bash", "dash"])
def test_shell(mount, token, program):
    """`$(<FILE)` and `cat` give the token; `read` has it and fails, but for `newline`."""
    need(program)
    fs = mount(ttl=30)
    file = fs.at(token["id"], "value")
    plain = "$(cat FILE)" if program == "dash" else "$(<FILE)"
    assert fs.run(program, "-ec", f'printf %s "{plain}"'.replace("FILE", file)).stdout.decode() == token["value"]
    strict = fs.run(program, "-ec", f"read -r t <{file}; echo reached", check=False)
    assert strict.returncode == 1 and b"reached" not in strict.stdout
    with_newline = mount(ttl=30, newline=True)
    done = fs.run(program, "-ec", f"read -r t <{with_newline.at(token['id'], 'value')}; echo \"$t\"")
    assert done.stdout.decode().strip() == token["value"]


def test_curl(mount, resolver, token, start, directory):
    """The token goes into the query, percent-encoded, and into no argument."""
    resolver.update_token(token["id"], value="a value/with+signs=")
    fs = mount(ttl=30)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        start("curl", "-sS", "--noproxy", "*", "-G", "--data-urlencode", f"token@{fs.at('.by_name', 'web', 'value')}",
              f"http://127.0.0.1:{listening.getsockname()[1]}/dns-query")
        listening.settimeout(HANG)
        connection, _ = listening.accept()
        with connection:
            line = connection.recv(4096).decode().splitlines()[0]
    query = urllib.parse.urlsplit(line.split()[1]).query
    assert urllib.parse.parse_qs(query) == {"token": ["a value/with+signs="]}
    assert directory.exists()
