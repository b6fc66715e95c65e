"""A name server that answers every question for an address with the same one, over UDP."""

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
