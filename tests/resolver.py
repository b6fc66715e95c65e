#!/usr/bin/python3
"""The local stand-in for Amazon Route 53 Global Resolver's API: signed calls, tokens, and trouble.

From Python:

    from resolver import Resolver
    with Resolver() as r:                          # or r.start() … r.stop()
        token = r.add_token(name="web")            # the document, as GetAccessToken gives it
        subprocess.run([...], env={**os.environ, **r.environ()})
        r.update_token(token["id"], value="new")   # also delete_token, rotate_token, add_tokens(10000)
        r.add_fault("status", status=503, retry_after=1, token=token["id"], count=3)
        r.deny(operation="ListAccessTokens")
        r.latency = 0.02
        r.wait_for(1, "GetAccessToken")
        assert r.count("GetAccessToken", token=token["id"], result="ok") == 1

The effects of faults are listed in standin/faults.py. `Resolver(tls="good")` (or expired, wrong-host,
untrusted) speaks TLS; `r.ca_file` is what a client should trust. stop() and start() again is an outage:
all state and the port stay.

From a shell:

    tests/resolver.py --port 0 --tokens tokens.json      # prints its URL as the first line
    curl -d name=web            $URL/_control/tokens
    curl -d effect=hang -d token=at-1   $URL/_control/faults

Control URLs. Arguments as JSON, as a form (curl -d name=value) or in the query; answers are JSON:

    GET    /_control/tokens              all documents        POST: add_token(…), or count=N: add_tokens,
                                         or a JSON array of documents         DELETE: delete all
    GET    /_control/tokens/ID           one document         POST: update fields   DELETE: delete
    POST   /_control/tokens/ID/rotate    add its successor    GET …/history: all versions
    GET    /_control/views               also …/resolvers     POST: add_view(…), add_resolver(…)
    GET    /_control/faults              those in force       POST: add_fault(…)
    DELETE /_control/faults              release all          DELETE …/faults/NUMBER: this one
    GET    /_control/keys                accepted keys        POST: add_key(…)      DELETE …/keys/ID
    GET    /_control/denials             rules                POST: deny(…)         DELETE: allow all
    GET    /_control/counters            all counts           DELETE: reset
    GET    /_control/count               count(operation=, token=, result=)
    GET    /_control/log                 the calls (operation=, token=)
    GET    /_control/settings            settings             POST: set them
    POST   /_control/latency             seconds=, operation=, token=
    POST   /_control/connections         close those that are idle (idle_only=false: all)
    POST   /_control/outage              seconds=: refuse connections for so long
    POST   /_control/stop                end the program
"""

import argparse
import json
import os
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from standin import certs, control                                      # noqa: E402
from standin.api import Api                                             # noqa: E402
from standin.bucket import Bucket                                       # noqa: E402
from standin.calls import CallLog                                       # noqa: E402
from standin.errors import STYLES                                       # noqa: E402
from standin.faults import Faults, Rule                                 # noqa: E402
from standin.model import Model                                         # noqa: E402
from standin.sigv4 import Key, Verifier                                 # noqa: E402
from standin.wire import Server                                         # noqa: E402

ACCESS_KEY = "AKIDTOKENFSSTANDIN01"
SECRET_KEY = "stand-in/secret+key/of/forty/characters."
SETTINGS = ("latency", "rate_limit", "page_size", "clock_offset", "error_style", "mismatch_code", "regions",
            "answer_first", "idle_timeout", "lacks_shared_views")


class Resolver:
    """The stand-in. Every method may be called from any thread, running or not.

    Settings, to be assigned at any time:
      latency        seconds before each answer; see also set_latency()
      answer_first   the answer is made before the latency instead of after it (False)
      page_size      of lists when the client gives no max_results (100)
      clock_offset   seconds that the server's clock is ahead of the true one
      error_style    where an error's code stands: header, type, code, none
      mismatch_code  the code of errors about signatures and their time (SignatureDoesNotMatch)
      rate_limit     calls a second that are served, of all operations; the others are throttled (None: all are served)
      regions        regions accepted in a signature's scope (None: any)
      lacks_shared_views  an older service, which doesn't know ListSharedDNSViews (False)
      idle_timeout   seconds until an unused connection is closed (None: never)
    `model` has the data (standin/model.py), `url` the address, `port` the port.
    """

    def __init__(self, port=0, tls=None, key=(ACCESS_KEY, SECRET_KEY), host="127.0.0.1"):
        self.clock_offset = 0.0
        self.latency = 0.0
        self.answer_first = False
        self.rate_limit = None
        self.bucket = Bucket()
        self.lacks_shared_views = False
        self.page_size = 100
        self.error_style = "header"
        self.model = Model(self.clock)
        self.verifier = Verifier(self.clock)
        self.faults = Faults()
        self.log = CallLog()
        self.denials = []
        self.tls = tls
        self._latencies = {}            # (operation, token) -> seconds
        self._api = Api(self)
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._outage = None
        self._accepted_before = 0
        context = certs.shared().server_context(tls) if tls else None
        self._server = Server(self._handle, host, port, context)
        for name in ("add_token", "add_tokens", "update_token", "delete_token", "rotate_token",
                     "clear_tokens", "load", "add_view", "add_shared_view", "delete_view", "add_resolver",
                     "history", "version_at", "versions_between"):
            setattr(self, name, getattr(self.model, name))
        for name in ("count", "calls"):
            setattr(self, name, getattr(self.log, name))
        if key is not None:
            self.add_key(*key)

    # Running

    def start(self):
        """Listens (on the same port as before, if it ran before); gives itself."""
        self._ended.clear()
        self._server.start()
        return self

    def stop(self):
        """Closes the port and all connections, releases all hangs, ends all threads."""
        self._ended.set()
        outage, self._outage = self._outage, None
        if outage is not None:
            outage.join()
        with self._lock:
            self._server.stop()

    def __enter__(self):
        return self if self.running else self.start()

    def __exit__(self, *_):
        self.stop()

    @property
    def port(self):
        """The port (0 before the first start, unless given)."""
        return self._server.port

    @property
    def running(self):
        """Whether it listens."""
        return self._server.running

    @property
    def url(self):
        """Where it is."""
        host = f"[{self._server.host}]" if ":" in self._server.host else self._server.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    @property
    def ca_file(self):
        """The CA that a client should trust; with tls="untrusted" another one has signed."""
        return certs.shared().ca_file

    def environ(self):
        """What a client needs in its environment to use this stand-in with the first key."""
        key = next(iter(self.verifier.keys.values()))
        found = {"AWS_ACCESS_KEY_ID": key.id, "AWS_SECRET_ACCESS_KEY": key.secret,
                 "AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER": self.url}
        if key.session_token is not None:
            found["AWS_SESSION_TOKEN"] = key.session_token
        if self.tls:
            found["AWS_CA_BUNDLE"] = self.ca_file
        return found

    def outage(self, seconds, delay=0):
        """Refuses connections for so long, then serves on; doesn't wait for the end of it. With a
        delay it begins only later, so that a control request for it can be answered."""
        with self._lock:
            if self._outage is not None and self._outage.is_alive():
                raise ValueError("an outage is under way")
            if not delay:
                self._server.stop()

            def run():
                if delay:
                    self._ended.wait(delay)
                    self._server.stop()
                if not self._ended.wait(seconds):
                    self._server.start()
            self._outage = threading.Thread(target=run, daemon=True, name="resolver-outage")
            self._outage.start()

    def request_stop(self):
        """Asks wait() to come back."""
        self._ended.set()

    def wait(self, timeout=None):
        """Waits until somebody asks for the end; gives whether somebody did."""
        return self._ended.wait(timeout)

    def close_connections(self, idle_only=True):
        """Closes the connections kept alive (or all), as a load balancer may."""
        self._server.close_connections(idle_only)

    def _handle(self, connection, request):
        if request.path.startswith(control.PREFIX):
            return control.handle(self, connection, request)
        return self._api.handle(connection, request)

    # The clock and the settings

    def clock(self):
        """The server's time, seconds since the epoch."""
        return time.time() + self.clock_offset

    def set_clock(self, seconds):
        """Sets the server's clock; it goes on from there."""
        self.clock_offset = seconds - time.time()

    mismatch_code = property(lambda self: self.verifier.mismatch_code,
                             lambda self, code: setattr(self.verifier, "mismatch_code", code))
    regions = property(lambda self: self.verifier.regions,
                       lambda self, regions: setattr(self.verifier, "regions", regions))
    idle_timeout = property(lambda self: self._server.idle_timeout,
                            lambda self, seconds: setattr(self._server, "idle_timeout", seconds))

    def settings(self):
        """The settings as plain JSON."""
        return {name: getattr(self, name) for name in SETTINGS}

    def set(self, **settings):
        """Sets several settings."""
        for name, value in settings.items():
            if name not in SETTINGS:
                raise ValueError(f"unknown setting {name!r}")
            if name == "error_style" and value not in STYLES:
                raise ValueError(f"error_style is one of {', '.join(STYLES)}")
            setattr(self, name, value)

    def set_latency(self, seconds, operation=None, token=None):
        """Seconds before the answers of an operation, a token, or all (None: as all others)."""
        if operation is None and token is None:
            self.latency = seconds or 0.0
        elif seconds is None:
            self._latencies.pop((operation, token), None)
        else:
            self._latencies[operation, token] = seconds

    def latency_of(self, call):
        """The latency that applies to a call: the most particular one."""
        if self._latencies:
            for slot in ((call.operation, call.token), (None, call.token), (call.operation, None)):
                if slot in self._latencies:
                    return self._latencies[slot]
        return self.latency

    # Keys and denials

    def add_key(self, id, secret, session_token=None, expires=None, expires_in=None):
        """Accepts a key from now on; expires: server time, expires_in: seconds from now."""
        if expires_in is not None:
            expires = self.clock() + expires_in
        key = Key(id, secret, session_token, expires)
        self.verifier.keys[id] = key
        return key

    def remove_key(self, id):
        """Knows this key no longer."""
        del self.verifier.keys[id]

    def deny(self, key=None, operation=None, token=None, dns_view=None, resolver=None):
        """Answers AccessDenied where all that is given holds (strings or lists); gives the rule."""
        rule = Rule(key=key, operation=operation, token=token, dns_view=dns_view, resolver=resolver)
        with self._lock:
            self.denials = self.denials + [rule]
        return rule

    def allow(self, rule):
        """Takes a denial back."""
        with self._lock:
            self.denials = [r for r in self.denials if r is not rule]

    def allow_all(self):
        """Takes all denials back."""
        self.denials = []

    def is_denied(self, call):
        """Whether a denial applies to this call."""
        return any(rule.applies(call) for rule in self.denials)

    # Faults and counters

    def add_fault(self, effect, **parameters):
        """Adds a fault (standin/faults.py lists them); gives it."""
        return self.faults.add(effect, **parameters)

    def remove_fault(self, fault):
        """Removes one fault, and releases the calls that hang in it."""
        return self.faults.remove(fault)

    def clear_faults(self):
        """Removes all faults, and releases the calls that hang in them."""
        self.faults.clear()

    def counters(self):
        """All counts: calls, operations, tokens, results, concurrent, max_concurrent, connections
        (that carried calls), accepted, open_connections, tls_failures (OpenSSL's reasons)."""
        return {**self.log.counters(), "accepted": self._server.accepted - self._accepted_before,
                "open_connections": self._server.open_connections,
                "tls_failures": list(self._server.tls_failures)}

    def wait_for(self, number=1, operation=None, token=None, result=None, timeout=5):
        """Waits until there were so many calls of this kind; raises TimeoutError if not in time."""
        end = time.monotonic() + timeout
        while (seen := self.count(operation, token, result)) < number:
            if time.monotonic() > end:
                raise TimeoutError(f"{seen} calls instead of {number}: {self.counters()}")
            time.sleep(0.002)

    def reset_counters(self):
        """Starts counting anew and empties the log."""
        self.log.reset()
        self._accepted_before = self._server.accepted
        self._server.tls_failures.clear()


def _arguments():
    parser = argparse.ArgumentParser(description="local stand-in for Route 53 Global Resolver")
    parser.add_argument("--port", type=int, default=0, help="0: one is picked")
    parser.add_argument("--tokens", nargs="*", default=[], metavar="FILE",
                        help="JSON: an array of tokens in the API's form, all fields optional")
    parser.add_argument("--count", type=int, default=0, help="adds so many tokens")
    parser.add_argument("--key", action="append", metavar="ID:SECRET[:SESSION]",
                        help=f"accepted keys, repeatable (default {ACCESS_KEY}:{SECRET_KEY})")
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--tls", choices=certs.KINDS)
    parser.add_argument("--environ", action="store_true",
                        help="after the URL, prints shell assignments for a client")
    return parser.parse_args()


def main():
    """Runs until SIGTERM, SIGINT or POST /_control/stop."""
    options = _arguments()
    resolver = Resolver(options.port, options.tls, None if options.key else (ACCESS_KEY, SECRET_KEY))
    for key in options.key or ():
        resolver.add_key(*key.split(":", 2))
    for path in options.tokens:
        with open(path, encoding="utf-8") as file:
            resolver.load(json.load(file))
    resolver.add_tokens(options.count)
    resolver.latency = options.latency
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: resolver.request_stop())
    resolver.start()
    print(resolver.url, flush=True)
    if options.environ:
        for name, value in resolver.environ().items():
            print(f"export {name}='{value}'", flush=True)
    resolver.wait()
    time.sleep(0.05)                    # the answer to POST /_control/stop
    resolver.stop()


if __name__ == "__main__":
    main()
