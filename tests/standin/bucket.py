"""A token bucket: how an API limits the calls a second."""

import threading
import time


class Bucket:
    """Holds what the limit gives in a second. It is full at first."""

    def __init__(self):
        self._lock = threading.Lock()
        self._level = None
        self._at = time.monotonic()

    def take(self, rate):
        """Whether a call may be served now, at `rate` a second (None: always)."""
        with self._lock:
            now = time.monotonic()
            passed, self._at = now - self._at, now
            if rate is None:
                self._level = None
                return True
            most = max(rate, 1)
            self._level = most if self._level is None else min(most, self._level + passed * rate)
            if self._level < 1:
                return False
            self._level -= 1
            return True
