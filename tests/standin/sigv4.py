"""SigV4 from the server's side: the accepted keys, and the check of one request.

Written from the public description of the scheme, so that it shares nothing with the signer
under test. The order of the checks is the service's: who are you, is your session good, is the
scope right, is the time right, is the signature right.
"""

import hashlib
import hmac
import threading
import time
from calendar import timegm
from urllib.parse import quote, unquote

from .errors import ApiError

SERVICE = "route53globalresolver"
MAX_SKEW = 300
_KEY_CACHE_MAX = 256


class Key:
    """One accepted key pair. `session_token` None: a long-lived key; `expires`: server time."""

    def __init__(self, id, secret, session_token=None, expires=None):
        self.id = id
        self.secret = secret
        self.session_token = session_token
        self.expires = expires

    def public(self):
        """What may be shown of it."""
        return {"id": self.id, "session": self.session_token is not None, "expires": self.expires}


def canonical_path(path):
    """The path as sent, without dot segments and doubled slashes, percent-encoded once more."""
    out = []
    for part in path.split("/"):
        if part == "..":
            if out:
                out.pop()
        elif part not in ("", "."):
            out.append(part)
    joined = "/" + "/".join(out)
    if out and path.endswith(("/", "/.", "/..")):
        joined += "/"
    return quote(joined, safe="/~-_.")


def canonical_query(query):
    """The query's pairs, decoded, encoded strictly, and sorted."""
    if not query:
        return ""
    pairs = []
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        pairs.append((quote(unquote(name), safe="-_.~"), quote(unquote(value), safe="-_.~")))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _hmac(key, text):
    return hmac.digest(key, text.encode(), "sha256")


def _parse_authorization(value):
    """Splits the header into (access key id, date, region, service, signed headers, signature)."""
    scheme, _, rest = value.partition(" ")
    if scheme != "AWS4-HMAC-SHA256":
        raise ApiError("IncompleteSignatureException", "Unsupported authorization scheme.")
    fields = {}
    for part in rest.split(","):
        name, _, content = part.strip().partition("=")
        fields[name] = content
    scope = fields.get("Credential", "").split("/")
    signed = fields.get("SignedHeaders", "").split(";")
    signature = fields.get("Signature", "")
    if len(scope) != 5 or scope[4] != "aws4_request" or not signature or signed == [""]:
        raise ApiError("IncompleteSignatureException",
                       "Authorization header requires 'Credential', 'Signature' and "
                       "'SignedHeaders' parameters.")
    return scope[0], scope[1], scope[2], scope[3], signed, signature


class Verifier:
    """The accepted keys. Safe to use from any thread."""

    def __init__(self, clock, regions=("us-east-2",), mismatch_code="SignatureDoesNotMatch"):
        self.clock = clock
        self.regions = regions          # None: any
        self.mismatch_code = mismatch_code
        self.keys = {}
        self._signing_keys = {}
        self._last_stamp = (None, 0)    # (x-amz-date, its seconds): parsing is slow
        self._lock = threading.Lock()

    def _signing_key(self, secret, date, region):
        """The derived key; remembered, since it is the same all day."""
        slot = (secret, date, region)
        key = self._signing_keys.get(slot)
        if key is None:
            key = f"AWS4{secret}".encode()
            for text in (date, region, SERVICE, "aws4_request"):
                key = _hmac(key, text)
            with self._lock:
                if len(self._signing_keys) >= _KEY_CACHE_MAX:
                    self._signing_keys.clear()
                self._signing_keys[slot] = key
        return key

    def verify(self, request):
        """Gives the Key that signed the request, or raises the service's ApiError."""
        authorization = request.headers.get("authorization")
        if authorization is None:
            raise ApiError("MissingAuthenticationTokenException", "Missing Authentication Token")
        key_id, date, region, service, signed, signature = _parse_authorization(authorization)
        key = self.keys.get(key_id)
        if key is None:
            raise ApiError("UnrecognizedClientException",
                           "The security token included in the request is invalid.")
        now = self.clock()
        session = request.headers.get("x-amz-security-token")
        if (session or "") != (key.session_token or ""):
            raise ApiError("InvalidClientTokenId",
                           "The security token included in the request is invalid")
        if key.expires is not None and now >= key.expires:
            raise ApiError("ExpiredTokenException",
                           "The security token included in the request is expired")
        stamp = request.headers.get("x-amz-date", "")
        self._check_scope(date, region, service, stamp)
        self._check_signed_headers(request, signed)
        self._check_time(stamp, now)
        payload = hashlib.sha256(request.body).hexdigest()
        if request.headers.get("x-amz-content-sha256", payload) != payload:
            raise ApiError(self.mismatch_code, "The payload hash does not match the body.")
        headers = "".join(f"{n}:{' '.join(request.headers[n].split())}\n" for n in signed)
        canonical = "\n".join((request.method, canonical_path(request.path),
                               canonical_query(request.query), headers, ";".join(signed), payload))
        to_sign = "\n".join(("AWS4-HMAC-SHA256", stamp, f"{date}/{region}/{SERVICE}/aws4_request",
                             hashlib.sha256(canonical.encode()).hexdigest()))
        expected = _hmac(self._signing_key(key.secret, date, region), to_sign).hex()
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise ApiError(self.mismatch_code,
                           "The request signature we calculated does not match the signature you "
                           "provided. Check your AWS Secret Access Key and signing method.")
        return key

    def _check_scope(self, date, region, service, stamp):
        if service != SERVICE:
            raise ApiError(self.mismatch_code,
                           f"Credential should be scoped to correct service: '{SERVICE}'.")
        if self.regions is not None and region not in self.regions:
            raise ApiError(self.mismatch_code,
                           f"Credential should be scoped to a valid region, not '{region}'.")
        if not stamp.startswith(date) or len(date) != 8:
            raise ApiError(self.mismatch_code,
                           "Date in Credential scope does not match the request's date.")

    def _check_signed_headers(self, request, signed):
        if signed != sorted(set(signed)) or any(n != n.lower() for n in signed):
            raise ApiError(self.mismatch_code, "SignedHeaders must be sorted and in lower case.")
        must = {"host"} | {n for n in request.headers if n.startswith("x-amz-")}
        must.add("x-amz-date")
        missing = sorted((must - set(signed)) | (set(signed) - set(request.headers)))
        if missing:
            raise ApiError(self.mismatch_code,
                           "There were headers present in the request which were not signed, or "
                           f"signed ones that are missing: {', '.join(missing)}")

    def _check_time(self, stamp, now):
        last, sent = self._last_stamp
        if last != stamp:
            try:
                sent = timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
            except ValueError:
                raise ApiError("IncompleteSignatureException",
                               "Date must be in ISO-8601 'basic format'.") from None
            self._last_stamp = (stamp, sent)
        if abs(sent - now) <= MAX_SKEW:
            return
        here = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        if sent < now - MAX_SKEW:
            raise ApiError(self.mismatch_code,
                           f"Signature expired: {stamp} is now earlier than {here} - 5 min.")
        raise ApiError(self.mismatch_code,
                       f"Signature not yet current: {stamp} is still later than {here} + 5 min.")
