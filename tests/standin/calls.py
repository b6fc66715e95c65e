"""What was asked of the stand-in: the log of calls and everything counted from it. Holds no
secrets: no headers, no bodies, of the query only whether it asked for a further page."""

import threading
import time
from collections import Counter, deque

LOG_MAX = 200_000


class Call:
    """One call of the API. `result` is None while it is in flight, then "ok", an error code, or
    the effect of the fault that it got."""

    __slots__ = ("number", "time", "start", "end", "operation", "token", "dns_view", "resolver",
                 "key", "connection", "next_page", "status", "result", "fault", "_epoch")

    def __init__(self, operation, token=None, dns_view=None, resolver=None, connection=0):
        self.operation = operation
        self.token = token
        self.dns_view = dns_view
        self.resolver = resolver
        self.key = None
        self.connection = connection
        self.next_page = False
        self.number = self.time = self.start = self.end = None
        self.status = self.result = self.fault = None
        self._epoch = 0

    def public(self):
        """The call as plain JSON; `start` and `end` are time.monotonic()."""
        return {name: getattr(self, name) for name in self.__slots__ if name[0] != "_"}


class CallLog:
    """The calls since the last reset, newest last. Safe to use from any thread."""

    def __init__(self):
        self._lock = threading.Lock()
        self._epoch = 0
        self._number = 0
        self._concurrent = 0
        self.reset()

    def reset(self):
        """Forgets all; calls in flight are not counted again when they end."""
        with self._lock:
            self._epoch += 1
            self._log = deque(maxlen=LOG_MAX)
            self._cells = Counter()     # (operation, token, result or "pending") -> calls
            self._max_concurrent = self._concurrent
            self._connections = 0

    def connected(self):
        """Counts a connection that carries calls."""
        with self._lock:
            self._connections += 1

    def begin(self, call, now):
        """A call arrived."""
        call.time, call.start = now, time.monotonic()
        with self._lock:
            self._number += 1
            call.number = self._number
            call._epoch = self._epoch
            self._concurrent += 1
            self._max_concurrent = max(self._max_concurrent, self._concurrent)
            self._cells[call.operation, call.token, "pending"] += 1
            self._log.append(call)

    def end(self, call, result, status):
        """Its answer is about to leave, or will never be given. Only the first end counts."""
        with self._lock:
            if call.end is not None:
                return
            call.end, call.result, call.status = time.monotonic(), result, status
            self._concurrent -= 1
            if call._epoch == self._epoch:
                self._cells[call.operation, call.token, "pending"] -= 1
                self._cells[call.operation, call.token, result] += 1

    def count(self, operation=None, token=None, result=None):
        """How many calls there were, of these kinds ("pending": in flight)."""
        with self._lock:
            return sum(n for (o, t, r), n in self._cells.items()
                       if operation in (None, o) and token in (None, t) and result in (None, r))

    def counters(self):
        """All counts as plain JSON."""
        operations, tokens, results = Counter(), Counter(), Counter()
        with self._lock:
            for (operation, token, result), n in self._cells.items():
                operations[operation] += n
                results[result] += n
                if token is not None:
                    tokens[token] += n
            return {"calls": operations.total(), "operations": _positive(operations),
                    "tokens": _positive(tokens), "results": _positive(results),
                    "concurrent": self._concurrent, "max_concurrent": self._max_concurrent,
                    "connections": self._connections}

    def calls(self, operation=None, token=None):
        """The calls themselves, oldest first (at most the last 200,000)."""
        with self._lock:
            log = list(self._log)
        return [c for c in log if operation in (None, c.operation) and token in (None, c.token)]


def _positive(counter):
    return {name: n for name, n in counter.items() if n > 0}
