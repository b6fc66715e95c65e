"""Faults: what the stand-in is told to do wrong, to whom, and how often.

A fault is an effect and what it applies to:

    match    operation, token, dns_view, resolver, key: a string, or a list of them; left out: any
    after=N  leave the first N matching calls alone
    count=N  then apply to N calls (left out: until removed)
    probability=P

and one of these effects, with its own parameters (a call gets the first fault that matches):

    status         status=500, code=, message=, retry_after= (seconds), retry_after_date= (seconds
                   from now, sent as an HTTP date), headers={}, style= (see errors.py)
    throttle       429; retry_after=, retry_after_date=
    latency        seconds=: waits that long, then goes on as if there were no fault
    hang           never answers until the fault is removed; with when="middle": after half the answer
    reset          connection reset; when="before" (the answer) or "middle"
    close          connection closed without an answer
    cut            Content-Length promises more than is sent
    drip           one byte every interval=0.1 s
    endless        a body that never ends
    huge           size=64 MiB of valid JSON, in the field `padding`
    gzip_bomb      size=64 MiB of it, as gzip
    redirect       status=302, location=
    body           exactly this body="", with status=200, content_type="application/json", headers={}
    malformed      JSON cut in its middle
    content_type   content_type="text/html"
    not_http       garbage instead of HTTP
    long_header    a header of size=1 MiB

These change a good answer, and wait for one (an error answer doesn't use up their count):

    patch          fields={…} over the document (over each item of a list); null takes one away
    wrong_id       the document of id="at-of-another"
    duplicate      field="value": a second time, with value="second"; first=true: before the true one
    deep           an unknown field, nested depth=100000
    nul            a NUL (as \\u0000) inside of field="value"; raw=true: as a plain byte
    invalid_utf8   bytes that are no UTF-8 inside of field="value"
    huge_listing   items=10000 on one page, whatever max_results says
    next_token_loop  nextToken never ends; fresh=true: another one each time
"""

import itertools
import json
import random
import threading

ON_SUCCESS = {"patch", "wrong_id", "duplicate", "deep", "nul", "invalid_utf8", "huge_listing",
              "next_token_loop"}
EFFECTS = ON_SUCCESS | {"status", "throttle", "latency", "hang", "reset", "close", "cut", "drip",
                        "endless", "huge", "gzip_bomb", "redirect", "body", "malformed",
                        "content_type", "not_http", "long_header"}
MATCHES = ("operation", "token", "dns_view", "resolver", "key")


class Rule:
    """What a fault or a denial applies to: every member given must hold."""

    def __init__(self, **match):
        self.match = {}
        for name, wanted in match.items():
            if name not in MATCHES:
                raise ValueError(f"unknown match {name!r}")
            if wanted is not None:
                self.match[name] = {wanted} if isinstance(wanted, str) else set(wanted)

    def applies(self, call):
        """Whether it applies to this call (any object with the attributes named in MATCHES)."""
        return all(getattr(call, name) in wanted for name, wanted in self.match.items())

    def public(self):
        """Its match as plain JSON."""
        return {name: sorted(wanted) for name, wanted in self.match.items()}


class Fault(Rule):
    """One fault; see above. `released` is set when it is removed."""

    def __init__(self, number, effect, count, probability, after, parameters):
        if effect not in EFFECTS:
            raise ValueError(f"unknown effect {effect!r}")
        super().__init__(**{k: parameters.pop(k) for k in MATCHES if k in parameters})
        self.number = number
        self.effect = effect
        self.count = count
        self.probability = probability
        self.after = after
        self.parameters = parameters
        self.used = 0
        self.released = threading.Event()

    def get(self, name, default=None):
        """One of its parameters."""
        return self.parameters.get(name, default)

    def public(self):
        """The fault as plain JSON."""
        return {"number": self.number, "effect": self.effect, "count": self.count,
                "probability": self.probability, "used": self.used, "match": super().public(),
                **self.parameters}


class Faults:
    """The faults in force, oldest first. Safe to use from any thread."""

    def __init__(self):
        self._faults = []
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self.random = random.Random(1)

    def add(self, effect, *, count=None, probability=1.0, after=0, **parameters):
        """Adds a fault and gives it."""
        fault = Fault(next(self._numbers), effect, count, probability, after, parameters)
        with self._lock:
            self._faults = self._faults + [fault]
        return fault

    def remove(self, fault):
        """Removes a fault (or the one of that number) and releases whoever hangs in it."""
        number = fault if isinstance(fault, int) else fault.number
        with self._lock:
            gone = [f for f in self._faults if f.number == number]
            self._faults = [f for f in self._faults if f.number != number]
        for f in gone:
            f.released.set()
        if isinstance(fault, Fault):
            fault.released.set()
        return bool(gone)

    def clear(self):
        """Removes all faults and releases whoever hangs in them."""
        with self._lock:
            gone, self._faults = self._faults, []
        for fault in gone:
            fault.released.set()

    def all(self):
        """The faults in force."""
        return list(self._faults)

    def take(self, call, on_success, past=0):
        """The fault that this call gets, or None. To be asked before the operation, for the faults
        that replace it, and after it has gone well, for those that change its answer; `past`: only
        faults added after the one of this number."""
        if not self._faults:
            return None
        with self._lock:
            for fault in self._faults:
                if fault.number <= past or (fault.effect in ON_SUCCESS) != on_success:
                    continue
                if not fault.applies(call):
                    continue
                if fault.count is not None and fault.used >= fault.count:
                    continue
                if fault.after > 0:
                    fault.after -= 1
                    continue
                if fault.probability < 1 and self.random.random() >= fault.probability:
                    continue
                fault.used += 1
                return fault
        return None


def _splice(body, field, insert):
    """Puts bytes into the middle of a string field of an encoded document."""
    at = body.find(f'"{field}":"'.encode())
    if at < 0:
        return body
    at += len(field) + 4
    return body[:at + 1] + insert + body[at + 1:]


def _member(body, text, first=False):
    """Adds a member to an encoded document."""
    return b"{" + text + b"," + body[1:] if first else body[:-1] + b"," + text + b"}"


def _patched(document, fields):
    return {k: v for k, v in {**document, **fields}.items() if v is not None}


def transform(fault, body, list_name):
    """A good answer's body, as the fault wants it; list_name: of a list, the name of its array."""
    effect = fault.effect
    if effect in ("patch", "wrong_id", "huge_listing", "next_token_loop"):
        document = json.loads(body)
        items = document.get(list_name) if list_name else None
        fields = fault.get("fields", {})
        if effect == "wrong_id":
            fields = {"id": fault.get("id", "at-of-another")}
        if effect == "next_token_loop":
            document["nextToken"] = f"again-{fault.used if fault.get('fresh') else 0}"
        elif effect == "huge_listing":
            sample = items[0] if items else {}
            document[list_name] = [{**sample, "id": f"at-huge{i:08d}", "name": f"huge-{i}"}
                                   for i in range(fault.get("items", 10000))] if list_name else []
        elif items is not None:
            document[list_name] = [_patched(item, fields) for item in items]
        else:
            document = _patched(document, fields)
        return json.dumps(document, separators=(",", ":")).encode()
    field = fault.get("field", "value")
    if effect == "duplicate":
        member = json.dumps({field: fault.get("value", "second")}, separators=(",", ":"))[1:-1]
        return _member(body, member.encode(), bool(fault.get("first")))
    if effect == "deep":
        depth = fault.get("depth", 100000)
        return _member(body, b'"deep":' + b"[" * depth + b"]" * depth)
    if effect == "nul":
        return _splice(body, field, b"\x00" if fault.get("raw") else b"\\u0000")
    return _splice(body, field, b"\xff\xc0\xaf")    # invalid_utf8
