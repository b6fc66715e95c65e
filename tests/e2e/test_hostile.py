"""A server that means harm: every answer ends in a clear error, in bounded time and memory, goes nowhere else, and does
no harm to the next read. (Which errno each fault of the stand-in gives is in test_errno.py.)
"""

import contextlib
import gzip
import pathlib
import socket
import socketserver
import threading
import time

import pytest
from mounting import HANG, SANITIZED, SLOWNESS, background, error_of, read_file, until
from readers import Readers, errors_in

pytestmark = pytest.mark.core
# What the worker may hold more at its peak, however large the answers are: the limits of a body, a few times (its text,
# its decoded form), for the 16 calls that may be under way, and what libcurl holds for each connection.
PEAK_KIB = 24 * 1024
# Every error that a bad answer may give. None of them is a success, ENOENT or an answer of the kernel's own.
CLEAR = {"EBADMSG", "EREMOTEIO", "EHOSTUNREACH", "EPROTO", "ETIMEDOUT", "EBUSY"}


def reset_peak(fs):
    """Forgets how much memory the worker ever held."""
    pathlib.Path(f"/proc/{fs.worker}/clear_refs").write_text("5")


def memory(fs, what):
    """KiB of the worker: VmRSS now, VmHWM at its peak."""
    for line in pathlib.Path(f"/proc/{fs.worker}/status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1])
    raise AssertionError(what)


@contextlib.contextmanager
def bounded_memory(fs, limit_kib=PEAK_KIB):
    """The worker's peak may not be higher by more than this."""
    worker = fs.worker
    reset_peak(fs)
    before = memory(fs, "VmRSS")
    yield
    assert fs.worker == worker, "it died of it"
    grown = memory(fs, "VmHWM") - before
    assert SANITIZED or grown <= limit_kib, f"{grown} KiB more at the peak"


BIG = {
    "endless": {}, "huge": {}, "gzip_bomb": {"size": 256 << 20}, "drip": {"interval": 0.01 * SLOWNESS}, "long_header": {},
    "deep": {"depth": 200000},
}


@pytest.mark.parametrize("effect", BIG)
def test_many_readers_of_bad_answers(mount, resolver, effect):
    """Sixteen calls at once get the worst of it: memory is bounded, the others are served meanwhile, then all is well."""
    bad = resolver.add_tokens(16, prefix="bad-")
    good = resolver.add_token(name="good")
    fs = mount(ttl=0.2, timeout=2 * SLOWNESS, negative_ttl=0)
    assert fs.text(good["id"], "value") == good["value"]
    with bounded_memory(fs, 64 * 1024):
        fault = resolver.add_fault(effect, operation="GetAccessToken", token=[one["id"] for one in bad], **BIG[effect])
        reading = [background(read_file, fs.at(one["id"], "value")) for one in bad]
        served = background(read_file, fs.at(good["id"], ".json"))
        for one in reading:
            error = one.exception(HANG)
            assert isinstance(error, OSError), error
        assert served.exception(HANG) is None
        resolver.remove_fault(fault)
    fs.forget()
    for one in bad:
        assert fs.text(one["id"], "value") == one["value"]


LISTS = {
    "endless": {}, "huge": {}, "gzip_bomb": {"size": 256 << 20}, "deep": {"depth": 200000},
    "huge_listing": {"items": 50000}, "next_token_loop": {}, "next_token_loop, fresh": {"fresh": True}, "wrong_id": {},
    "nul": {"field": "name"}, "invalid_utf8": {"field": "name"}, "duplicate": {"field": "id"},
}


@pytest.mark.parametrize("effect", LISTS)
def test_lists(mount, resolver, effect):
    """Every list is as bad as that: `ls` ends, memory is bounded, tokens are reached by their ids; then all is well."""
    tokens = resolver.add_tokens(5)
    fs = mount(ttl=0.2, timeout=2 * SLOWNESS, negative_ttl=0)
    with bounded_memory(fs, 48 * 1024):
        operations = ["ListAccessTokens", "ListDNSViews", "ListGlobalResolvers"]
        fault = resolver.add_fault(effect.split(",")[0], operation=operations, **LISTS[effect])
        for _ in range(3):
            error_of(lambda: fs.ls(), limit=HANG)           # pylint: disable=unnecessary-lambda
            error_of(lambda: fs.ls(".by_name"), limit=HANG)  # pylint: disable=unnecessary-lambda
            assert fs.text(tokens[0]["id"], "value") == tokens[0]["value"]
        resolver.remove_fault(fault)
    fs.forget()
    until(lambda: fs.tokens() == sorted(one["id"] for one in tokens), "the list", pause=0.2)
    assert fs.ls(".by_name") == sorted(one["name"] for one in tokens)


def test_readers_of_the_status(mount, resolver):
    """Whoever may look at .service_status, and does so all the time, fills no memory with what it was at each look."""
    fs = mount(ttl=600)
    for one in resolver.add_tokens(1000):
        fs.read(one["id"], "status")
    assert fs.stat(".service_status").st_size > 200_000
    with bounded_memory(fs, 32 * 1024), Readers({str(i): ("read", fs.at(".service_status")) for i in range(4)}) as readers:
        until(lambda: sum(one["looks"] for one in readers.look().values()) > 120, "looks", pause=0.1)
        assert not errors_in(readers.stop())
    until(lambda: fs.status()["cache"]["directories"] >= 1000, "what it is now", limit=15)


class Trap:
    """A listener that must never be talked to."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(0.1)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/latest/meta-data/iam/security-credentials/"

    def was_touched(self):
        """True if anybody connected."""
        try:
            self.socket.accept()[0].close()
            return True
        except TimeoutError:
            return False


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 300, 305])
def test_redirects_are_never_followed(mount, resolver, token, status):
    """To a metadata service, of a token and of a list: an error, and nobody goes there."""
    trap = Trap()
    fs = mount(timeout=2, negative_ttl=0)
    fault = resolver.add_fault("redirect", status=status, location=trap.url)
    assert fs.read_error(token["id"], "value") in CLEAR
    error_of(lambda: fs.ls())                   # pylint: disable=unnecessary-lambda
    fs.read_error(".by_name", "web", "value")
    assert not trap.was_touched()
    resolver.remove_fault(fault)
    fs.forget()
    assert fs.text(token["id"], "value") == token["value"]


class Raw(socketserver.ThreadingTCPServer):
    """A server that answers each request with what `self.answer` (a function of connection and server) sends."""
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    class Handler(socketserver.BaseRequestHandler):
        """One connection."""

        def handle(self):
            self.request.settimeout(HANG)
            with contextlib.suppress(OSError):
                while self.read_request():
                    self.server.requests += 1
                    self.server.answer(self.request, self.server)

        def read_request(self):
            """Reads up to the empty line; False at the end."""
            data = b""
            while b"\r\n\r\n" not in data:
                part = self.request.recv(65536)
                if not part:
                    return False
                data += part
            return True

    def __init__(self, body):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.body, self.requests = body, 0
        self.answer = good
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.ended = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()


def good(connection, server):
    """The right answer."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" %
                       (len(server.body), server.body))


def text(*parts, close=True):
    """An answer that is these bytes, with {body} in them replaced by the good one; then the connection's end."""
    def answer(connection, server):
        connection.sendall(b"".join(parts).replace(b"{body}", server.body).replace(
            b"{length}", str(len(server.body)).encode()))
        if close:
            connection.shutdown(socket.SHUT_RDWR)
    return answer


def forever(first, again, pause=0.0):
    """An answer that never ends."""
    def answer(connection, server):
        connection.sendall(first)
        while not server.ended.wait(pause):
            connection.sendall(again)
    return answer


OK = b"HTTP/1.1 200 OK\r\n"
JSON = b"Content-Type: application/json\r\n"
RAW = {
    "nothing": text(b""),
    "half a status line": text(b"HTTP/1."),
    "no status": text(b"HTTP/1.1\r\n\r\n"),
    "status 0": text(b"HTTP/1.1 000 No\r\n\r\n{body}"),
    "status 999": text(b"HTTP/1.1 999 No\r\nContent-Length: 2\r\n\r\n{}"),
    "status of five digits": text(b"HTTP/1.1 20000 OK\r\nContent-Length: {length}\r\n\r\n{body}"),
    "a negative status": text(b"HTTP/1.1 -200 OK\r\nContent-Length: {length}\r\n\r\n{body}"),
    "switching protocols": text(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n{body}"),
    "no content": text(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "not modified": text(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    "partial content": text(b"HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\n\r\n{}"),
    "continue without end": forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "early hints without end": forever(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
    "headers without end": forever(OK, b"X-Padding: " + b"x" * 1000 + b"\r\n"),
    "small headers without end": forever(OK, b"a:b\r\n" * 100),
    "headers slowly": forever(OK, b"a:b\r\n", 0.05),
    "one header without end": forever(OK + b"X: ", b"x" * 65536),
    "folded headers": forever(OK + b"X: a\r\n", b" " + b"b" * 1000 + b"\r\n"),
    "trailers without end": forever(OK + JSON + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"a: b\r\n"),
    "a status line without end": forever(b"HTTP/1.1 200 ", b"x" * 65536),
    "spaces without end": forever(OK + JSON + b"\r\n", b" " * 65536),
    "opening brackets without end": forever(OK + JSON + b"\r\n", b"[" * 65536),
    "NULs without end": forever(OK + JSON + b"\r\n", bytes(65536)),
    "a huge length": text(OK, JSON, b"Content-Length: 18446744073709551615\r\n\r\n{body}"),
    "a length beyond all": text(OK, JSON, b"Content-Length: 99999999999999999999999999\r\n\r\n{body}"),
    "a negative length": text(OK, JSON, b"Content-Length: -1\r\n\r\n{}"),
    "two lengths": text(OK, JSON, b"Content-Length: 1\r\nContent-Length: {length}\r\n\r\n{body}"),
    "a length too small": text(OK, JSON, b"Content-Length: 10\r\n\r\n{body}"),
    "a chunk that is too large": text(OK, JSON, b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{body}"),
    "chunks without end": forever(OK + JSON + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "a chunk's extension without end": forever(OK + JSON + b"Transfer-Encoding: chunked\r\n\r\n1;", b"a=b;" * 1000),
    "a chunk of no number": text(OK, JSON, b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{body}\r\n0\r\n\r\n"),
    "packed many times": text(OK, JSON, b"Content-Encoding: " + b"gzip, " * 20 + b"gzip\r\nContent-Length: 2\r\n\r\n{}"),
    "packed as something unknown": text(OK, JSON, b"Content-Encoding: exi\r\nContent-Length: {length}\r\n\r\n{body}"),
    "packed, but it isn't": text(OK, JSON, b"Content-Encoding: gzip\r\nContent-Length: {length}\r\n\r\n{body}"),
    "packed and cut off": text(OK, JSON, b"Content-Encoding: gzip\r\nContent-Length: 30\r\n\r\n",
                               gzip.compress(b'{"id":"x","padding":"' + b"y" * 1000 + b'"}')[:30]),
    "Retry-After beyond all": text(b"HTTP/1.1 429 No\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n"),
    "Retry-After negative": text(b"HTTP/1.1 503 No\r\nRetry-After: -5\r\nContent-Length: 0\r\n\r\n"),
    "Retry-After in 9999": text(b"HTTP/1.1 503 No\r\nRetry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\n"
                                b"Content-Length: 0\r\n\r\n"),
    "Retry-After of a megabyte": text(b"HTTP/1.1 503 No\r\nRetry-After: " + b"9" * (1 << 20) + b"\r\n\r\n"),
    "a Date of nonsense": text(b"HTTP/1.1 500 No\r\nDate: \xff\xfe\x00 of May\r\nContent-Length: 0\r\n\r\n"),
    "an error type of binary": text(b"HTTP/1.1 500 No\r\nx-amzn-ErrorType: \x01\x02\xff:http\r\n"
                                    b"Content-Length: 2\r\n\r\n{}"),
    "a NUL among the headers": text(OK, b"X: a\x00b\r\nContent-Length: {length}\r\n\r\n{body}"),
    "no line ends": text(OK.strip() + b" " + b"a" * 100000),
    "two answers for one": text(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", OK,
                                b"Content-Length: {length}\r\n\r\n{body}"),
    "HTTP/2 without asking": text(b"HTTP/2 200\r\ncontent-length: 2\r\n\r\n{}"),
    "a preface of HTTP/2": text(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(4096)),
    "ICY": text(b"ICY 200 OK\r\n\r\n{body}"),
    "SSH": text(b"SSH-2.0-OpenSSH_9.2\r\n"),
}
# What isn't wrong enough to be refused, and is the right document.
FINE = {"a NUL among the headers", "status 0", "two lengths", "packed as something unknown", "packed, but it isn't"}


@pytest.mark.parametrize("what", RAW)
def test_raw_answers(mount, resolver, token, what):
    """Bytes that are no HTTP, or no good HTTP: a clear error within the deadline, little memory; the next read works."""
    server = Raw(resolver.model.token_bytes(token["id"]))
    server.answer = RAW[what]
    fs = mount(timeout=2, negative_ttl=0, token=token["id"], environ={
        "AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER": server.url})
    try:
        with bounded_memory(fs):
            start = time.monotonic()
            error = fs.read_error(token["id"], "value")
            assert error in CLEAR or (what in FINE and error == "OK"), error
            assert time.monotonic() - start < HANG / 2
            assert 1 <= server.requests < 50, "a storm"
        server.answer = good
        server.ended.set()
        fs.forget()
        until(lambda: fs.read_error(token["id"], "value") == "OK", "recovery")
        assert fs.text(token["id"], "value") == token["value"]
        log = fs.log()
        assert "\x00" not in log and "\x1b" not in log and max(map(len, log.splitlines())) < 1000
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()


CREDENTIALS = ["nothing", "headers without end", "spaces without end", "opening brackets without end", "chunks without end",
               "a huge length", "continue without end", "not modified"]


@pytest.mark.parametrize("what", CREDENTIALS + ["redirect"])
def test_a_hostile_source_of_credentials(mount, resolver, token, what):
    """A container's endpoint: the same bounds; a redirect isn't followed; when it is well, so are reads."""
    trap = Trap()
    resolver.add_key("ASIAHOSTILE000000001", "a-secret/of-the+container", session_token="a/session+token")
    server = Raw(b'{"AccessKeyId":"ASIAHOSTILE000000001","SecretAccessKey":"a-secret/of-the+container",'
                 b'"Token":"a/session+token","Expiration":"2099-01-01T00:00:00Z"}')
    server.answer = RAW[what] if what != "redirect" else text(
        f"HTTP/1.1 302 Found\r\nLocation: {trap.url}\r\nContent-Length: 0\r\n\r\n".encode())
    fs = mount(timeout=2, negative_ttl=0, environ={
        "AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.url}/keys"})
    try:
        with bounded_memory(fs):
            error = fs.read_error(token["id"], "value")
            assert error in {"ENOKEY", "EKEYREJECTED", *CLEAR}, error
        assert not trap.was_touched()
        assert resolver.counters()["calls"] == 0
        server.answer = good
        server.ended.set()
        fs.forget()
        until(lambda: fs.read_error(token["id"], "value") == "OK", "recovery")
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
