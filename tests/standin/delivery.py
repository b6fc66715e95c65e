"""An answer on its way to the client, whole or with a fault of the wire."""

import functools
import zlib

from . import wire

MIB = 1 << 20
_CHUNK = b"x" * 65536
ON_WIRE = {"reset", "close", "cut", "drip", "endless", "huge", "gzip_bomb", "malformed",
           "content_type", "not_http", "long_header", "hang"}
# Here the call is over only when the last byte is out; otherwise just before the one send.
SLOW = {"drip", "endless", "huge", "gzip_bomb", "hang"}


def packed(status, headers, body, keep, content_type="application/json", length=None):
    """The whole answer in one piece of bytes."""
    fields = list(headers)
    if content_type is not None:
        fields.append(("Content-Type", content_type))
    fields.append(("Content-Length", len(body) if length is None else length))
    if not keep:
        fields.append(("Connection", "close"))
    return wire.head(status, fields) + body


@functools.lru_cache(maxsize=4)
def _bomb(size):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(b'{"padding":"')]
    parts += [packer.compress(_CHUNK) for _ in range(size // len(_CHUNK))]
    return b"".join(parts) + packer.compress(b'"}') + packer.flush()


def deliver(connection, fault, status, headers, body, keep):
    """Sends the answer, with the fault if there is one; gives whether the connection lives on."""
    effect = fault.effect if fault is not None else None
    if effect not in ON_WIRE:
        connection.send(packed(status, headers, body, keep))
        return keep
    if effect in ("reset", "close"):
        if effect == "reset" and fault.get("when", "before") == "middle":
            connection.send(packed(status, headers, body, keep)[:-len(body) // 2 or None])
            connection.pause(0.02)      # an RST overtakes what wasn't read yet
        if effect == "reset":
            connection.reset()
        return False
    if effect == "hang":                # in the middle; before the answer it is waited out earlier
        whole = packed(status, headers, body, keep)
        half = len(whole) - len(body) // 2
        connection.send(whole[:half])
        connection.wait_for(fault.released)
        connection.send(whole[half:])
        return keep
    if effect == "cut":
        connection.send(packed(status, headers, body[:len(body) // 2], False, length=len(body)))
        return False
    if effect == "drip":
        for byte in packed(status, headers, body, keep):
            connection.send(bytes((byte,)))
            if not fault.released.is_set():
                connection.pause(fault.get("interval", 0.1))
        return keep
    if effect == "endless":
        connection.send(wire.head(status, [*headers, ("Content-Type", "application/json"),
                                           ("Connection", "close")]) + b'{"padding":"')
        while not fault.released.is_set() and not connection.server.stopping.is_set():
            connection.send(_CHUNK)
        return False
    if effect == "huge":
        opening, closing = b'{"padding":"', b'",' + body[1:]
        blocks = fault.get("size", 64 * MIB) // len(_CHUNK)
        length = len(opening) + blocks * len(_CHUNK) + len(closing)
        connection.send(packed(status, headers, opening, keep, length=length))
        for _ in range(blocks):
            connection.send(_CHUNK)
        connection.send(closing)
        return keep
    if effect == "gzip_bomb":
        bomb = _bomb(fault.get("size", 64 * MIB))
        connection.send(packed(status, [*headers, ("Content-Encoding", "gzip")], bomb, keep))
        return keep
    if effect == "malformed":
        connection.send(packed(status, headers, body[:len(body) // 2], keep))
        return keep
    if effect == "content_type":
        connection.send(packed(status, headers, body, keep, fault.get("content_type", "text/html")))
        return keep
    if effect == "long_header":
        long = ("X-Padding", "x" * fault.get("size", MIB))
        connection.send(packed(status, [*headers, long], body, keep))
        return keep
    connection.send(b"\x16\x03\x01 this is not HTTP\n")    # not_http
    return False
