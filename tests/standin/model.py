"""What the service knows: resolvers, DNS views and tokens, and every version a token ever had.

Documents are the API's own (plain dicts, as GetAccessToken gives them) and are never changed in
place: a change makes a new dict, so that whoever holds an old one holds one exact version. All
times of versions are time.monotonic(), taken while the change is made.
"""

import base64
import binascii
import bisect
import json
import re
import secrets
import threading
import time
import uuid
from datetime import datetime, timezone

from .errors import ApiError

ACCOUNT = "123456789012"
OTHER_ACCOUNT = "210987654321"
ARN = f"arn:aws:route53globalresolver::{ACCOUNT}:"
OTHER_ARN = f"arn:aws:route53globalresolver::{OTHER_ACCOUNT}:"
ID_PATTERN = re.compile(r"[-.a-zA-Z0-9]{1,64}")
DAY = 86400
TIMES = ("createdAt", "expiresAt", "updatedAt")
HIDDEN_IN_LISTS = ("value", "clientToken")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def iso(seconds):
    """Seconds since the epoch as the API writes a time."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _time(value):
    """Takes seconds, a datetime or a string; gives the string."""
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        value = value.timestamp()
    return iso(value)


def _new_id(prefix):
    bits = secrets.randbits(80)
    return prefix + "".join(_ALPHABET[(bits >> (5 * i)) & 31] for i in range(16))


def _encode(document):
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _page_token(view, sequence):
    # Begins with the two characters of base64 that a query must percent-encode.
    return base64.b64encode(b"\xfb\xff" + _encode([view, sequence])).decode()


def _read_page_token(text, view):
    try:
        raw = base64.b64decode(text, validate=True)
        name, sequence = json.loads(raw[2:])
        if raw[:2] != b"\xfb\xff" or name != view:
            raise ValueError
        return int(sequence)
    except (ValueError, TypeError, binascii.Error):
        raise ApiError("ValidationException", "The next token is not valid.",
                       extra={"reason": "FIELD_VALIDATION_FAILED",
                              "fieldList": [{"name": "next_token", "message": "invalid"}]}) from None


class _Collection:
    """Documents in the order of their creation, with a sequence number each, for paging that
    neither repeats nor loses what stays while the set changes."""

    def __init__(self):
        self.sequences = []
        self.ids = []

    def add(self, sequence, id):
        self.sequences.append(sequence)
        self.ids.append(id)

    def remove(self, id):
        at = self.ids.index(id)
        del self.ids[at], self.sequences[at]

    def page(self, after, size):
        """Gives (ids, sequence to go on after, or None)."""
        start = bisect.bisect_right(self.sequences, after)
        ids = self.ids[start:start + size]
        more = start + size < len(self.ids)
        return ids, (self.sequences[start + size - 1] if more else None)


class Model:
    """All documents. Every method may be called from any thread."""

    def __init__(self, clock=time.time):
        self.clock = clock
        self.lock = threading.RLock()
        self.resolvers, self.views, self.tokens = {}, {}, {}
        self._resolver_order = _Collection()
        self._view_order = {}       # resolver id -> _Collection
        self._shared_order = _Collection()      # views of another account, shared with this one
        self._token_order = {}      # view id -> _Collection
        self._sequence = 0
        self._history = {}          # token id -> [(monotonic, document or None)]
        self._bytes = {}            # token id -> encoded document
        self.resolver_id = self.add_resolver(name="main")["id"]
        self.view_id = self.add_view(name="office")["id"]

    def _next(self):
        self._sequence += 1
        return self._sequence

    def add_resolver(self, name="resolver", id=None, **fields):
        """Adds a global resolver; gives its document."""
        with self.lock:
            id = id or _new_id("gr-")
            now, number = iso(self.clock()), len(self.resolvers)
            document = {
                "id": id, "arn": f"{ARN}global-resolver/{id}", "clientToken": str(uuid.uuid4()),
                "name": name, "dnsName": f"{id}.route53globalresolver.global.on.aws",
                "ipv4Addresses": [f"192.0.2.{2 * number % 250 + 1}", f"198.51.100.{2 * number % 250 + 1}"],
                "regions": ["us-east-2", "eu-central-1"], "observabilityRegion": "us-east-2",
                "status": "OPERATIONAL", "createdAt": now, "updatedAt": now, **fields,
            }
            if id not in self.resolvers:
                self._resolver_order.add(self._next(), id)
                self._view_order[id] = _Collection()
            self.resolvers[id] = document
            return document

    def add_view(self, name="view", resolver=None, id=None, **fields):
        """Adds a DNS view (to the first resolver unless told otherwise); gives its document."""
        with self.lock:
            id = id or _new_id("dnsv-")
            resolver = resolver or self.resolver_id
            now = iso(self.clock())
            document = {
                "id": id, "arn": f"{ARN}dns-view/{id}", "clientToken": str(uuid.uuid4()),
                "name": name, "globalResolverId": resolver, "dnssecValidation": "ENABLED",
                "ednsClientSubnet": "DISABLED", "firewallRulesFailOpen": "DISABLED",
                "status": "OPERATIONAL", "createdAt": now, "updatedAt": now, **fields,
            }
            if id not in self.views:
                self._view_order[resolver].add(self._next(), id)
                self._token_order[id] = _Collection()
            self.views[id] = document
            return document

    def add_shared_view(self, name="shared", **fields):
        """Adds a DNS view of another account's resolver, shared with this one; gives its document."""
        with self.lock:
            id, resolver = _new_id("dnsv-"), _new_id("gr-")
            self._view_order[resolver] = _Collection()
            self._shared_order.add(self._next(), id)
            return self.add_view(name, resolver, id, arn=f"{OTHER_ARN}dns-view/{id}", **fields)

    def add_token(self, name=None, *, view=None, id=None, value=None, status="OPERATIONAL",
                  client_token="", created_at=None, updated_at=None, expires_at=None,
                  expires_in=90 * DAY, **fields):
        """Adds a token (to the first view unless told otherwise); gives its document.

        Times are seconds, datetimes or strings; `client_token` None or `name` None: the field is
        left out; `fields` are added under the API's names, and None takes a field away."""
        with self.lock:
            id = id or _new_id("at-")
            if id in self.tokens:
                raise ValueError(f"token {id} exists")
            view = view or self.view_id
            now = self.clock()
            created = now if created_at is None else created_at
            document = {
                "id": id, "arn": f"{ARN}access-token/{id}",
                "clientToken": str(uuid.uuid4()) if client_token == "" else client_token,
                "createdAt": created, "dnsViewId": view,
                "expiresAt": now + expires_in if expires_at is None else expires_at,
                "globalResolverId": self.views[view]["globalResolverId"], "name": name,
                "status": status,
                "updatedAt": created if updated_at is None else updated_at,
                "value": secrets.token_urlsafe(32) if value is None else value, **fields,
            }
            self._token_order[view].add(self._next(), id)
            return self._put(id, document)

    def add_tokens(self, count, prefix="token-", **fields):
        """Adds `count` tokens named <prefix><number>; gives their documents."""
        with self.lock:
            return [self.add_token(name=f"{prefix}{i:05d}", **fields) for i in range(count)]

    def _put(self, id, document):
        document = {k: _time(v) if k in TIMES else v for k, v in document.items() if v is not None}
        self._bytes.pop(id, None)
        self.tokens[id] = document
        self._history.setdefault(id, []).append((time.monotonic(), document))
        return document

    def load(self, documents):
        """Takes over tokens given in the API's own form, all fields optional; views (and their
        resolver) that they name and that don't exist are made."""
        for document in documents:
            fields = dict(document)
            view = fields.pop("dnsViewId", None)
            resolver = fields.pop("globalResolverId", None)
            with self.lock:
                if resolver and resolver not in self.resolvers:
                    self.add_resolver(id=resolver)
                if view and view not in self.views:
                    self.add_view(id=view, resolver=resolver)
                self.add_token(view=view, **fields)

    def update_token(self, id, **fields):
        """Changes fields (the API's names; None takes one away); gives the new document.
        `updatedAt` becomes now unless given."""
        with self.lock:
            return self._put(id, {**self.tokens[id], "updatedAt": self.clock(), **fields})

    def delete_token(self, id):
        """Deletes the token: from now on GetAccessToken answers 404."""
        with self.lock:
            document = self.tokens.pop(id)
            self._bytes.pop(id, None)
            self._token_order[document["dnsViewId"]].remove(id)
            self._history[id].append((time.monotonic(), None))

    def rotate_token(self, id, **fields):
        """Adds the successor of a token: same name and view, new id, value and times."""
        with self.lock:
            old = self.tokens[id]
            return self.add_token(name=old.get("name"), view=old["dnsViewId"], **fields)

    def clear_tokens(self):
        """Deletes all tokens."""
        with self.lock:
            for id in list(self.tokens):
                document = self.tokens.pop(id)
                self._token_order[document["dnsViewId"]] = _Collection()
                self._history[id].append((time.monotonic(), None))
            self._bytes.clear()

    def delete_view(self, id):
        """Deletes a view, and its tokens."""
        with self.lock:
            for token in list(self._token_order[id].ids):
                self.delete_token(token)
            self._view_order[self.views.pop(id)["globalResolverId"]].remove(id)
            if id in self._shared_order.ids:
                self._shared_order.remove(id)
            del self._token_order[id]

    def history(self, id):
        """All versions of a token: [(monotonic time, document; None once deleted)]."""
        with self.lock:
            return list(self._history.get(id, ()))

    def version_at(self, id, when):
        """The document that was current at this monotonic time (None: there was none)."""
        found = None
        for since, document in self.history(id):
            if since > when:
                break
            found = document
        return found

    def versions_between(self, id, start, end):
        """All documents (None among them, where there was none) current in [start, end]."""
        found = [self.version_at(id, start)]
        found += [d for since, d in self.history(id) if start < since <= end]
        return found

    def get_token(self, id):
        """GetAccessToken's document, or the 404."""
        document = self.tokens.get(id)
        if document is None:
            raise _not_found("ACCESS_TOKEN", id)
        return document

    def token_bytes(self, id):
        """GetAccessToken's body, encoded once a version."""
        body = self._bytes.get(id)
        if body is None:
            with self.lock:
                body = self._bytes[id] = _encode(self.get_token(id))
        return body

    def get_resolver(self, id):
        """GetGlobalResolver's document, or the 404."""
        with self.lock:
            if id not in self.resolvers:
                raise _not_found("GLOBAL_RESOLVER", id)
            return self.resolvers[id]

    def _page(self, order, documents, scope, size, token, hidden=()):
        after = _read_page_token(token, scope) if token is not None else 0
        ids, more = order.page(after, size)
        items = [{k: v for k, v in documents[id].items() if k not in hidden} for id in ids]
        return items, _page_token(scope, more) if more else None

    def list_resolvers(self, size, token=None):
        """One page of all resolvers: (items, next token or None)."""
        with self.lock:
            return self._page(self._resolver_order, self.resolvers, "*", size, token)

    def list_views(self, resolver, size, token=None):
        """One page of a resolver's views: (items, next token or None)."""
        with self.lock:
            self.get_resolver(resolver)
            return self._page(self._view_order[resolver], self.views, resolver, size, token)

    def list_shared_views(self, size, token=None):
        """One page of the views that other accounts share: (items, next token or None)."""
        with self.lock:
            return self._page(self._shared_order, self.views, "shared", size, token)

    def list_tokens(self, view, size, token=None):
        """One page of a view's tokens, without their secrets: (items, next token or None)."""
        with self.lock:
            if view not in self.views:
                raise _not_found("DNS_VIEW", view)
            return self._page(self._token_order[view], self.tokens, view, size, token,
                              HIDDEN_IN_LISTS)


def _not_found(kind, id):
    return ApiError("ResourceNotFoundException", f"The resource {id} was not found.",
                    extra={"resourceId": id, "resourceType": kind})
