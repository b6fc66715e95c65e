"""A small HTTP proxy on loopback: CONNECT, and plain http by absolute URLs. Whatever host is asked for, it goes on to
one address, so that names that don't exist can be used. Keeps what it was asked, headers included."""

import socket
import socketserver
import threading


class Proxy:
    """Running while in `with`. `asked` has "CONNECT host:port" or "GET http://…", `headers` the lines that came along."""

    def __init__(self, to, host="127.0.0.1"):
        self.to = to                # (address, port) that everything goes to
        self.asked = []
        self.headers = []
        self.refuse = None          # a status line's end, "407 Proxy Authentication Required": what it answers instead
        self.owes = 0               # bytes of body that this answer has, and that never come
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            """One connection."""

            def handle(self):
                """Reads the head of a request, connects, and passes bytes on."""
                head = b""
                while b"\r\n\r\n" not in head:
                    part = self.request.recv(65536)
                    if not part:
                        return
                    head += part
                head, rest = head.split(b"\r\n\r\n", 1)
                line, *headers = head.decode("latin-1").split("\r\n")
                method, target, _ = line.split(" ")
                proxy.asked.append(f"{method} {target}")
                proxy.headers += headers
                if proxy.refuse:
                    self.request.sendall(f"HTTP/1.1 {proxy.refuse}\r\nContent-Length: {proxy.owes}\r\n\r\n".encode())
                    if proxy.owes:
                        self.request.recv(1)
                    return
                with socket.create_connection(proxy.to, timeout=30) as other:
                    if method == "CONNECT":
                        self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    else:
                        path = "/" + target.split("/", 3)[3]
                        kept = [h for h in headers if not h.lower().startswith(("proxy-", "connection:"))]
                        other.sendall("\r\n".join([f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""])
                                      .encode("latin-1"))
                    other.sendall(rest)
                    back = threading.Thread(target=pump, args=(other, self.request), daemon=True)
                    back.start()
                    pump(self.request, other)
                    back.join(30)

        class Server(socketserver.ThreadingTCPServer):
            """Its threads end with their connections."""
            daemon_threads = True
            allow_reuse_address = True
            block_on_close = False

            def handle_error(self, *_):
                """Connections break; that is no one's fault."""

        self._server = Server((host, 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://{host}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


def pump(source, target):
    """All bytes from here to there; then the end."""
    try:
        while part := source.recv(65536):
            target.sendall(part)
    except OSError:
        pass
    try:
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
