"""HTTP/1.1 on plain sockets: the listener, one thread a connection, requests in, bytes out.

Hand-written because http.server costs more than the calls it would carry in the benches, and
because faults need the socket itself. Knows nothing of the API: a handler is given each request.
"""

import os
import random
import select
import socket
import ssl
import struct
import threading
import time
from http import HTTPStatus

MAX_HEAD = 65536
MAX_BODY = 64 << 20
HANDSHAKE_SECONDS = 10
JOIN_SECONDS = 10 * int(os.environ.get("TOKENFS_SLOWNESS", "1"))
_REASONS = {s.value: s.phrase for s in HTTPStatus}


class BadRequest(Exception):
    """The client doesn't speak HTTP/1.1 as it should."""


class Gone(Exception):
    """The client went away, or the server is being stopped: nobody is left to answer."""


class Request:
    """One request: `path` and `query` as they were sent, header names in lower case."""

    __slots__ = ("method", "path", "query", "headers", "body", "keep")

    def __init__(self, method, target, version, headers, body):
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.headers = headers
        self.body = body
        connection = headers.get("connection", "").lower()
        self.keep = version == "HTTP/1.1" and connection != "close"


class Connection:
    """A client's connection, as its own thread sees it."""

    def __init__(self, sock, server, number):
        self.sock = sock
        self.server = server
        self.number = number
        self.used = False           # a call of the API came over it
        self.idle = True
        self._buffer = b""

    def _receive(self):
        data = self.sock.recv(65536)
        if not data:
            raise Gone
        self._buffer += data

    def read(self):
        """The next request."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > MAX_HEAD:
                raise BadRequest("head too long")
            self._receive()
        self.idle = False
        head = self._buffer[:end].decode("latin-1").split("\r\n")
        self._buffer = self._buffer[end + 4:]
        line = head[0].split(" ")
        if len(line) != 3 or line[2] not in ("HTTP/1.1", "HTTP/1.0"):
            raise BadRequest("request line")
        headers = {}
        for field in head[1:]:
            name, colon, value = field.partition(":")
            if not colon or not name or name != name.strip():
                raise BadRequest("header field")
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        return Request(line[0], line[1], line[2], headers, self._read_body(headers))

    def _read_body(self, headers):
        if "transfer-encoding" in headers:
            raise BadRequest("transfer encoding")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MAX_BODY:
            raise BadRequest("content length")
        length = int(length)
        if length and headers.get("expect", "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(self._buffer) < length:
            self._receive()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return body

    def send(self, data):
        """Sends all of it."""
        self.sock.sendall(data)

    def is_gone(self):
        """Whether the client has closed, or the server is being stopped."""
        if self.server.stopping.is_set():
            return True
        poll = select.poll()
        poll.register(self.sock.fileno(), select.POLLRDHUP)
        return bool(poll.poll(0))

    def pause(self, seconds):
        """Sleeps; ends at once when the server is stopped."""
        if seconds > 0 and self.server.stopping.wait(seconds):
            raise Gone

    def wait_for(self, event):
        """Waits for the event, as long as the client does."""
        while not event.wait(0.05):
            if self.is_gone():
                raise Gone

    def reset(self):
        """Makes the coming close an RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Gone


def head(status, fields):
    """Status line and header fields, encoded."""
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def _pick_port(sock, host):
    """Binds to a port below the range of outgoing connections, of this process' share: nobody else is
    given it while the server is stopped for a while, and no client meets itself on it."""
    share = 12000 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    first = 20000 + share * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for _ in range(50):
        try:
            return sock.bind((host, random.SystemRandom().randrange(first, first + share)))
        except OSError:
            continue
    return sock.bind((host, 0))


class Server:
    """The listener and its threads. start() and stop() can be repeated; the port stays."""

    def __init__(self, handle, host="127.0.0.1", port=0, tls=None):
        self.handle = handle            # (connection, request) -> keep the connection?
        self.host = host
        self.port = port
        self.tls = tls                  # ssl.SSLContext or None
        self.stopping = threading.Event()
        self.accepted = 0               # connections ever
        self.tls_failures = []          # OpenSSL's reasons, in order
        self.idle_timeout = None        # seconds after which an unused connection is closed
        self._listener = None
        self._accepter = None
        self._threads = {}              # Connection -> its thread
        self._ending = []               # threads with nothing left to do but to end
        self._lock = threading.Lock()

    @property
    def running(self):
        """Whether it listens."""
        return self._listener is not None

    def start(self):
        """Listens and serves in the background."""
        listener = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            if self.port:
                listener.bind((self.host, self.port))
            else:
                _pick_port(listener, self.host)
            listener.listen(1024)
        except OSError:
            listener.close()
            raise
        self.port = listener.getsockname()[1]
        self.stopping.clear()
        self._listener = listener
        self._accepter = threading.Thread(target=self._accept, args=(listener,), daemon=True,
                                          name="resolver-accept")
        self._accepter.start()

    def stop(self):
        """Closes the port and all connections; when it returns, no thread is left."""
        if self._listener is None:
            return
        self.stopping.set()
        _shutdown(self._listener)
        self._accepter.join(JOIN_SECONDS)
        self._listener.close()
        self._listener = None
        with self._lock:
            left, ending = dict(self._threads), self._ending
            self._ending = []
        for connection in left:
            _shutdown(connection.sock)
        deadline = time.monotonic() + JOIN_SECONDS
        for connection, thread in left.items():
            while thread.is_alive():
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{thread.name} outlives stop()")
                _shutdown(connection.sock)  # again: it may have been wrapped meanwhile
                thread.join(0.1)
        with self._lock:
            ending += self._ending
            self._ending = []
        for thread in ending:
            thread.join()

    def close_connections(self, idle_only=True):
        """Closes the connections that clients keep alive (or all), as a load balancer may."""
        with self._lock:
            for connection in self._threads:
                if connection.idle or not idle_only:
                    _shutdown(connection.sock)

    @property
    def open_connections(self):
        """How many connections are open."""
        return len(self._threads)

    def _accept(self, listener):
        while not self.stopping.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                if not self.stopping.wait(0.01):
                    continue            # out of descriptors, most likely
                return
            self.accepted += 1
            connection = Connection(sock, self, self.accepted)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True,
                                      name=f"resolver-{self.accepted}")
            with self._lock:
                self._threads[connection] = thread
                if len(self._ending) > 64:
                    self._ending = [t for t in self._ending if t.is_alive()]
            thread.start()

    def _serve(self, connection):
        try:
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is None or self._handshake(connection):
                self._converse(connection)
        except (OSError, Gone):
            pass                        # the client went away; that is its right
        finally:
            with self._lock:
                self._ending.append(self._threads.pop(connection))
            # Only now, so that stop() and close_connections() never touch a reused descriptor.
            connection.sock.close()

    def _handshake(self, connection):
        raw = connection.sock
        raw.settimeout(HANDSHAKE_SECONDS)
        try:
            wrapped = self.tls.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
            connection.sock = wrapped
            wrapped.do_handshake()
            wrapped.settimeout(None)
        except OSError as error:
            self.tls_failures.append(getattr(error, "reason", None) or str(error))
            return False
        return True

    def _converse(self, connection):
        keep = True
        while keep and not self.stopping.is_set():
            connection.idle = True
            try:
                if self.idle_timeout is not None:
                    connection.sock.settimeout(self.idle_timeout)
                request = connection.read()
                if self.idle_timeout is not None:
                    connection.sock.settimeout(None)
            except BadRequest as problem:
                body = f"{problem}\n".encode()
                connection.send(head(400, [("Content-Type", "text/plain"), ("Connection", "close"),
                                           ("Content-Length", len(body))]) + body)
                return
            except ssl.SSLError as error:   # a TLS 1.3 client's alert arrives only here
                self.tls_failures.append(error.reason or str(error))
                return
            keep = self.handle(connection, request)


def _shutdown(sock):
    """Wakes whoever is in accept, recv or send on it; the plain one, also below TLS."""
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        pass
