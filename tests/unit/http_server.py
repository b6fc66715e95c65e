#!/usr/bin/python3
"""The servers that test_http calls: plain sockets, so that an answer can be as wrong as a test wants it.

Usage: http_server.py DIRECTORY. Certificates are made in DIRECTORY with the openssl command. One line for each server goes
to stdout ("plain PORT", "good PORT", …), then "ready". All ends when stdin does.

What is answered depends on the path's first part; see the functions named answer_*.
"""
import pathlib
import shutil
import socket
import ssl
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from standin.certs import Certificates      # noqa: E402

state_lock = threading.Condition()
connections = 0
requests = 0
met = set()
waiting = 0
waiting_max = 0


def respond(sock, body, status="200 OK", headers=()):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    sock.sendall("\r\n".join(lines).encode() + body)


def answer_echo(sock, head, body):
    """The request as it was received."""
    respond(sock, head + b"\r\n\r\n" + body, headers=["X-First: one", "x-first: two", "X-Empty:", "X-Space: \t a b \t"])


def answer_status(sock, head, body, status):
    # RFC 9110: a 204 has no body; a client that gets one can't use the connection any more.
    respond(sock, b"" if status == "204" else b"status", status=status + " Some Reason")


def answer_redirect(sock, head, body):
    respond(sock, b"moved", status="302 Found", headers=["Location: /echo"])


def answer_bytes(sock, head, body, count):
    respond(sock, b"x" * int(count))


def answer_chunked(sock, head, body, count):
    sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for left in range(int(count), 0, -1000):
        size = min(1000, left)
        sock.sendall(b"%x\r\n" % size + b"x" * size + b"\r\n")
    sock.sendall(b"0\r\nX-Trailer: t\r\n\r\n")


def answer_unbounded(sock, head, body):
    """A body without a length that ends with the connection, which it never does."""
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        sock.sendall(b"x" * 1000)


def answer_headers(sock, head, body, count, size):
    respond(sock, b"", headers=[f"X-{i}: " + "v" * int(size) for i in range(int(count))])


def answer_interim(sock, head, body):
    sock.sendall(b"HTTP/1.1 103 Early Hints\r\nX-Interim: yes\r\n\r\n")
    respond(sock, b"final", headers=["X-Final: yes"])


def answer_gzip(sock, head, body):
    respond(sock, b"\x1f\x8b not decoded", headers=["Content-Encoding: gzip"])


def answer_cut(sock, head, body):
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")
    return "close"


def answer_cut_chunk(sock, head, body):
    sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n0123456789")
    return "close"


def answer_cut_header(sock, head, body):
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
    return "close"


def answer_reset(sock, head, body):
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    return "close"


def answer_nothing(sock, head, body):
    return "close"


def answer_garbage(sock, head, body):
    sock.sendall(b"this is not HTTP at all\r\n\r\n")
    return "close"


def answer_bad_length(sock, head, body):
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n")
    return "close"


def answer_hang(sock, head, body):
    sock.recv(1)
    return "close"


def answer_hang_in_body(sock, head, body):
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")
    sock.recv(1)
    return "close"


def answer_last(sock, head, body):
    """Promises to keep the connection, and closes it."""
    respond(sock, b"last")
    return "close"


def answer_last_silently(sock, head, body):
    """Keeps the connection, but ends it at the next request without a word."""
    respond(sock, b"last")
    sock.recv(1)
    return "close"


def answer_last_reset(sock, head, body):
    respond(sock, b"last")
    sock.recv(1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    return "close"


def answer_counts(sock, head, body):
    with state_lock:
        respond(sock, b"%d %d %d %d" % (connections, requests, waiting_max, threading.current_thread().number))


def answer_meet(sock, head, body, name, count):
    """Answers once `count` requests have waited together under this name."""
    global waiting, waiting_max
    with state_lock:
        waiting += 1
        waiting_max = max(waiting, waiting_max)
        if waiting >= int(count):
            met.add(name)
            state_lock.notify_all()
        has_met = state_lock.wait_for(lambda: name in met, timeout=15)
        waiting -= 1
    respond(sock, b"met" if has_met else b"alone")


def serve_connection(sock):
    global requests
    received = b""
    while True:
        while b"\r\n\r\n" not in received:
            data = sock.recv(65536)
            if not data:
                return
            received += data
        head, _, received = received.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        while len(received) < length:
            received += sock.recv(65536)
        body, received = received[:length], received[length:]
        with state_lock:
            requests += 1
        target = head.split(b" ")[1].decode("latin-1")
        if "://" in target:  # asked as a proxy
            respond(sock, b"proxied " + target.encode())
            continue
        name, *args = target.split("?")[0].strip("/").split("/")
        if name == "echo":
            args = []
        if globals()["answer_" + name](sock, head, body, *args) == "close":
            return


def run_connection(sock, context):
    global connections
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context == "cut":
            sock.recv(1)
        elif context == "talk":
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            sock.recv(65536)
        elif context == "silent":
            while sock.recv(65536):
                pass
        elif context == "reset":
            sock.recv(1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        else:
            if context:
                sock = context.wrap_socket(sock, server_side=True)
            with state_lock:
                connections += 1
                threading.current_thread().number = connections
            serve_connection(sock)
    except OSError:
        pass
    finally:
        sock.close()


def listen(name, context=None):
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    print(name, listener.getsockname()[1], flush=True)

    def accept():
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=run_connection, args=(sock, context), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def listen_refusing():
    """A port that nobody listens on, and that nobody else gets."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    print("refused", sock.getsockname()[1], flush=True)
    return sock


def listen_tls(directory):
    certificates = Certificates(directory)
    for name, kind in (("good", "good"), ("expired", "expired"), ("wrong_host", "wrong-host"), ("untrusted", "untrusted")):
        context = certificates.server_context(kind)
        context.set_alpn_protocols(["h2", "http/1.1"])  # a client that offers h2 would speak it, which no server here can
        listen(name, context)
    old = certificates.server_context("good")
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    listen("old", old)


def main():
    directory = sys.argv[1]
    held = listen_refusing()
    listen("plain")
    listen("cut", "cut")
    listen("reset", "reset")
    listen("silent", "silent")
    listen("talk", "talk")
    if shutil.which("openssl"):
        listen_tls(directory)
    print("ready", 0, flush=True)
    sys.stdin.read()
    held.close()


if __name__ == "__main__":
    main()
