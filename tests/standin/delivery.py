"""An answer on its way to the client, whole or with a fault of the wire."""

import functools
import threading
import zlib

from . import wire

MIB = 1 << 20
_CHUNK = b"x" * 65536



def packed(status, headers, body, keep, content_type="application/json", length=None):
    """The whole answer in one piece of bytes."""
    fields = list(headers)
    if content_type is not None:
        fields.append(("Content-Type", content_type))
    fields.append(("Content-Length", len(body) if length is None else length))
    if not keep:
        fields.append(("Connection", "close"))
    return wire.head(status, fields) + body


_bomb_lock = threading.Lock()     # many connections want the same at once, and making it takes a while


def _bomb(size):
    with _bomb_lock:
        return _make_bomb(size)


@functools.lru_cache(maxsize=4)
def _make_bomb(size):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(b'{"padding":"')]
    parts += [packer.compress(_CHUNK) for _ in range(size // len(_CHUNK))]
    return b"".join(parts) + packer.compress(b'"}') + packer.flush()


def deliver(connection, fault, status, headers, body, keep, done):
    """Sends the answer, with the fault if there is one; gives whether the connection lives on.
    done() is called just before the last bytes, so that who has them finds the call counted."""
    effect = fault.effect if fault is not None else None
    if effect in _ON_WIRE:
        return _ON_WIRE[effect](connection, fault, status, headers, body, keep, done)
    content_type = fault.get("content_type", "application/json") if effect == "body" else None
    done()
    connection.send(packed(status, headers, body, keep, content_type or "application/json"))
    return keep


def _reset(connection, fault, status, headers, body, keep, done):
    done()
    if fault.get("when", "before") == "middle":
        connection.send(packed(status, headers, body[:len(body) // 2], keep, length=len(body)))
        connection.pause(0.02)          # an RST overtakes what wasn't read yet
    return connection.reset()


def _close(connection, fault, status, headers, body, keep, done):
    done()
    return False


def _hang(connection, fault, status, headers, body, keep, done):
    # In the middle; before the answer, it is waited out before the operation.
    whole = packed(status, headers, body, keep)
    half = len(whole) - len(body) // 2
    connection.send(whole[:half])
    connection.wait_for(fault.released)
    done()
    connection.send(whole[half:])
    return keep


def _cut(connection, fault, status, headers, body, keep, done):
    done()
    connection.send(packed(status, headers, body[:len(body) // 2], False, length=len(body)))
    return False


def _drip(connection, fault, status, headers, body, keep, done):
    whole = packed(status, headers, body, keep)
    for at in range(len(whole) - 1):
        connection.send(whole[at:at + 1])
        if not fault.released.is_set():
            connection.pause(fault.get("interval", 0.1))
    done()
    connection.send(whole[-1:])
    return keep


def _endless(connection, fault, status, headers, body, keep, done):
    connection.send(wire.head(status, [*headers, ("Content-Type", "application/json"),
                                       ("Connection", "close")]) + b'{"padding":"')
    while not fault.released.is_set() and not connection.server.stopping.is_set():
        connection.send(_CHUNK)
    done()
    return False


def _huge(connection, fault, status, headers, body, keep, done):
    opening, closing = b'{"padding":"', b'",' + body[1:]
    blocks = fault.get("size", 64 * MIB) // len(_CHUNK)
    length = len(opening) + blocks * len(_CHUNK) + len(closing)
    connection.send(packed(status, headers, opening, keep, length=length))
    for _ in range(blocks):
        connection.send(_CHUNK)
    done()
    connection.send(closing)
    return keep


def _gzip_bomb(connection, fault, status, headers, body, keep, done):
    bomb = _bomb(fault.get("size", 64 * MIB))
    done()
    connection.send(packed(status, [*headers, ("Content-Encoding", "gzip")], bomb, keep))
    return keep


def _malformed(connection, fault, status, headers, body, keep, done):
    done()
    connection.send(packed(status, headers, body[:len(body) // 2], keep))
    return keep


def _content_type(connection, fault, status, headers, body, keep, done):
    done()
    connection.send(packed(status, headers, body, keep, fault.get("content_type", "text/html")))
    return keep


def _long_header(connection, fault, status, headers, body, keep, done):
    padding = ("X-Padding", "x" * fault.get("size", MIB))
    done()
    connection.send(packed(status, [*headers, padding], body, keep))
    return keep


def _not_http(connection, fault, status, headers, body, keep, done):
    done()
    connection.send(b"\x16\x03\x01 this is not HTTP\n")
    return False


_ON_WIRE = {
    "reset": _reset, "close": _close, "hang": _hang, "cut": _cut, "drip": _drip,
    "endless": _endless, "huge": _huge, "gzip_bomb": _gzip_bomb, "malformed": _malformed,
    "content_type": _content_type, "long_header": _long_header, "not_http": _not_http,
}
