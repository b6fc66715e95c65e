"""A name server that answers every question for an address with the same one, over UDP; and nscd, which does so for
programs of this machine."""

import os
import socket
import struct
import threading

A = 1


class Dns:
    """`with Dns("10.53.0.1", "10.9.8.7") as dns`: made in the network where it is to listen; `asked` has the names."""

    def __init__(self, at, answer):
        self._answer = socket.inet_aton(answer)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((at, 53))
        self.asked = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        try:
            self._socket.shutdown(socket.SHUT_RDWR)     # wakes the thread, also where nothing is connected
        except OSError:
            pass
        self._thread.join(10)
        self._socket.close()

    def _serve(self):
        while True:
            try:
                query, sender = self._socket.recvfrom(4096)
            except OSError:
                return
            if len(query) < 12:
                return
            labels, end = [], 12
            while query[end]:
                labels.append(query[end + 1:end + 1 + query[end]].decode())
                end += 1 + query[end]
            kind, = struct.unpack(">H", query[end + 1:end + 3])
            self.asked.append(".".join(labels))
            answer = struct.pack(">HHHIH", 0xc00c, A, 1, 0, 4) + self._answer if kind == A else b""
            header = query[:2] + struct.pack(">HHHHH", 0x8580, 1, 1 if answer else 0, 0, 0)
            self._socket.sendto(header + query[12:end + 5] + answer, sender)


class Nscd:
    """The daemon that the C library asks first, by a socket of a fixed path (the path as the test sees it): of the protocol's
    version 2 it knows getaddrinfo() alone, and refuses to share its cache. In `with`; `asked` has the names."""

    GETAI = 14

    def __init__(self, path, answer):
        self._answer = socket.inet_aton(answer)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(path)
        os.chmod(path, 0o666)
        self._socket.listen(16)
        self.asked = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._socket.close()

    def _serve(self):
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with client:
                client.settimeout(10)
                _, kind, length = struct.unpack("=3i", client.recv(12, socket.MSG_WAITALL))
                name = client.recv(length, socket.MSG_WAITALL).rstrip(b"\0").decode()
                if kind != self.GETAI:
                    continue
                self.asked.append(name)
                # version, found, addresses, their bytes in all, bytes of the canonical name, error
                canonical = name.encode() + b"\0"
                header = struct.pack("=6i", 2, 1, 1, len(self._answer), len(canonical), 0)
                client.sendall(header + self._answer + bytes([socket.AF_INET]) + canonical)
