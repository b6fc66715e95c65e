"""The errno table: each row with its fault, at the first read of a token (no copy is there to fall back on)."""

import datetime
import os

import pytest
from mounting import SLOWNESS, error_of, until
from resolver import SECRET_KEY, Resolver

pytestmark = pytest.mark.core

# Fault (effect and parameters) → errno.
FAULTS = {
    "no such token": (None, {}, "ENOENT"),
    "validation": ("status", {"status": 400, "code": "ValidationException"}, "ENOENT"),
    "denied": ("status", {"status": 403, "code": "AccessDeniedException"}, "EACCES"),
    "denied, code in __type": ("status", {"status": 403, "code": "AccessDeniedException", "style": "type"}, "EACCES"),
    "denied, code in code": ("status", {"status": 403, "code": "AccessDeniedException", "style": "code"}, "EACCES"),
    "not found by code": ("status", {"status": 404, "code": "ResourceNotFoundException", "style": "type"}, "ENOENT"),
    "throttled": ("throttle", {}, "EBUSY"),
    "throttled, wait long": ("throttle", {"retry_after": 30}, "EBUSY"),
    "500": ("status", {"status": 500}, "EREMOTEIO"),
    "503": ("status", {"status": 503}, "EREMOTEIO"),
    "502, not in the API's form": ("body", {"status": 502, "body": "<html>Bad Gateway</html>"}, "EREMOTEIO"),
    "never answers": ("hang", {}, "ETIMEDOUT"),
    "half an answer, then nothing": ("hang", {"when": "middle"}, "ETIMEDOUT"),
    "drips": ("drip", {"interval": 0.3}, "ETIMEDOUT"),
    "connection reset": ("reset", {}, "EHOSTUNREACH"),
    "connection closed": ("close", {}, "EHOSTUNREACH"),
    "cut off in the middle of JSON": ("malformed", {}, "EBADMSG"),
    "no JSON": ("body", {"body": "hello"}, "EBADMSG"),
    "empty": ("body", {"body": ""}, "EBADMSG"),
    "an array": ("body", {"body": "[]"}, "EBADMSG"),
    "of another token": ("wrong_id", {}, "EBADMSG"),
    "without value": ("patch", {"fields": {"value": None}}, "EBADMSG"),
    "a number as value": ("patch", {"fields": {"value": 17}}, "EBADMSG"),
    "no time": ("patch", {"fields": {"expiresAt": "tomorrow"}}, "EBADMSG"),
    "NUL inside": ("nul", {}, "EBADMSG"),
    "no UTF-8": ("invalid_utf8", {}, "EBADMSG"),
    "value twice": ("duplicate", {}, "EBADMSG"),
    "nested deep": ("deep", {}, "EBADMSG"),
    "64 MiB": ("huge", {}, "EBADMSG"),
    "a gzip bomb": ("gzip_bomb", {}, "EBADMSG"),
    "never ends": ("endless", {}, "EBADMSG"),
    "bad signature": ("status", {"status": 403, "code": "SignatureDoesNotMatch"}, "EKEYREJECTED"),
    "unknown key": ("status", {"status": 403, "code": "UnrecognizedClientException"}, "EKEYREJECTED"),
    "bad session token": ("status", {"status": 403, "code": "InvalidClientTokenId"}, "EKEYREJECTED"),
    "credentials expired": ("status", {"status": 403, "code": "ExpiredTokenException"}, "EKEYEXPIRED"),
    "redirected": ("redirect", {}, {"EREMOTEIO", "EBADMSG", "EPROTO"}),
    "not HTTP": ("not_http", {}, {"EBADMSG", "EHOSTUNREACH"}),
    "cut off by the connection": ("cut", {}, "EHOSTUNREACH"),
    "headers without end": ("long_header", {}, {"EBADMSG", "EHOSTUNREACH"}),
}


@pytest.mark.parametrize("what", FAULTS)
def test_fault(mount, resolver, token, what):
    """The read fails with the errno of the table, says why in the log without the secret, and recovers."""
    effect, parameters, expected = FAULTS[what]
    expected = {expected} if isinstance(expected, str) else expected
    fs = mount(timeout=2 * SLOWNESS, negative_ttl=0, log_level="debug")
    if effect is None:
        assert fs.read_error("at-unknown", "value") == "ENOENT"
        return
    fault = resolver.add_fault(effect, operation="GetAccessToken", **parameters)
    assert fs.read_error(token["id"], "value") in expected
    assert fs.read_error(token["id"], ".json") in expected
    assert resolver.count("GetAccessToken") >= 1
    resolver.remove_fault(fault)
    fs.forget()
    assert fs.text(token["id"], "value") == token["value"]


def test_no_listing_is_needed(mount, resolver, token):
    """A token can be read by its id where listing is denied."""
    resolver.deny(operation=["ListGlobalResolvers", "ListDNSViews", "ListAccessTokens", "GetGlobalResolver"])
    fs = mount()
    assert fs.text(token["id"], "value") == token["value"]


def test_denied_for_one(mount, resolver):
    """One token is denied, another isn't."""
    denied, allowed = resolver.add_token()["id"], resolver.add_token()["id"]
    resolver.deny(token=denied)
    fs = mount()
    assert fs.read_error(denied, "value") == "EACCES"
    assert fs.text(allowed, "status") == "OPERATIONAL"


def test_no_credentials(mount, token):
    """ENOKEY."""
    fs = mount(environ={"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, timeout=3)
    assert fs.read_error(token["id"], "value") == "ENOKEY"
    assert fs.resolver.counters()["calls"] == 0


def test_wrong_secret(mount, token):
    """EKEYREJECTED, from a true signature check; and the log names no part of the secret."""
    fs = mount(environ={"AWS_SECRET_ACCESS_KEY": "another+secret/key+of/forty+characters+0"}, timeout=3)
    assert fs.read_error(token["id"], "value") == "EKEYREJECTED"
    assert "another+secret" not in fs.log()


def test_unknown_key(mount, token):
    """EKEYREJECTED."""
    fs = mount(environ={"AWS_ACCESS_KEY_ID": "AKIDUNKNOWN000000001"}, timeout=3)
    assert fs.read_error(token["id"], "value") == "EKEYREJECTED"


def test_expired_session(mount, resolver, token):
    """EKEYEXPIRED, from the stand-in's clock."""
    resolver.add_key("ASIAEXPIRED000000001", SECRET_KEY, session_token="a-session-token", expires_in=-10)
    fs = mount(environ={"AWS_ACCESS_KEY_ID": "ASIAEXPIRED000000001", "AWS_SESSION_TOKEN": "a-session-token"}, timeout=3)
    assert fs.read_error(token["id"], "value") == "EKEYEXPIRED"


def test_wrong_session_token(mount, resolver, token):
    """EKEYREJECTED."""
    resolver.add_key("ASIASESSION000000001", SECRET_KEY, session_token="a-session-token")
    fs = mount(environ={"AWS_ACCESS_KEY_ID": "ASIASESSION000000001", "AWS_SESSION_TOKEN": "another-token"}, timeout=3)
    assert fs.read_error(token["id"], "value") == "EKEYREJECTED"


def test_right_session_token(mount, resolver, token):
    """A session's credentials are signed with, and work."""
    resolver.add_key("ASIASESSION000000001", SECRET_KEY, session_token="a-session/token+of=odd=characters==")
    fs = mount(environ={"AWS_ACCESS_KEY_ID": "ASIASESSION000000001",
                        "AWS_SESSION_TOKEN": "a-session/token+of=odd=characters=="})
    assert fs.text(token["id"], "value") == token["value"]


def test_nobody_listens(mount, resolver, token):
    """EHOSTUNREACH for a refused connection; and when the service is back, the next read succeeds."""
    fs = mount(timeout=2, negative_ttl=0)
    resolver.stop()
    assert fs.read_error(token["id"], "value") == "EHOSTUNREACH"
    resolver.start()
    until(lambda: fs.read_error(token["id"], "value") == "OK", "recovery")
    assert fs.text(token["id"], "value") == token["value"]


def test_no_such_host(mount, token):
    """EHOSTUNREACH for a name that doesn't exist (.invalid never does)."""
    fs = mount(endpoint_url="https://no-such-host.invalid", timeout=3)
    assert fs.read_error(token["id"], "value") in ("EHOSTUNREACH", "ETIMEDOUT")


@pytest.mark.parametrize("kind", ["untrusted", "wrong-host", "expired"])
def test_tls_failures(mount, directory, kind):
    """EPROTO for each kind of certificate that must not be trusted; no request leaves."""
    with Resolver(tls=kind) as service:
        token = service.add_token()
        fs = mount(environ=service.environ(), timeout=3)
        assert fs.read_error(token["id"], "value") == "EPROTO"
        assert service.counters()["calls"] == 0


def test_tls_works(mount, directory):
    """A certificate of the CA bundle: by the environment, by ca_bundle=; without either it isn't trusted."""
    with Resolver(tls="good") as service:
        token = service.add_token()
        assert mount(environ=service.environ()).text(token["id"], "value") == token["value"]
        bare = {**service.environ(), "AWS_CA_BUNDLE": None}
        fs = mount(ca_bundle=service.ca_file, environ=bare)
        assert fs.text(token["id"], "value") == token["value"]
        assert mount(environ=bare, timeout=3).read_error(token["id"], "value") == "EPROTO"


@pytest.mark.parametrize("offset", [-3600, 3600])
def test_clock_is_off(mount, resolver, token, offset):
    """A server whose clock differs: the signature's time is corrected from its Date, once."""
    resolver.clock_offset = offset
    fresh = resolver.add_token(name="now")
    fs = mount()
    assert fs.text(fresh["id"], "value") == fresh["value"]
    assert fs.text(token["id"], "status") == "OPERATIONAL"
    assert resolver.count("GetAccessToken", result="ok") == 2
    assert resolver.count("GetAccessToken") == 3, "only the first call needed a second try"


def test_error_styles(mount, resolver):
    """Wherever the error's code stands, and where it stands nowhere: by status."""
    fs = mount(negative_ttl=0)
    for style in ("header", "type", "code", "none"):
        resolver.error_style = style
        assert fs.read_error(f"at-none-{style}", "value") == "ENOENT"


def test_scope_is_not_there(mount, resolver):
    """Out of scope: ENOENT, without a call."""
    inside, outside = resolver.add_token()["id"], resolver.add_token()["id"]
    fs = mount(token=inside)
    assert fs.read_error(outside, "value") == "ENOENT"
    assert fs.text(inside, "status") == "OPERATIONAL"
    assert resolver.count("GetAccessToken", token=outside) == 0


def test_wire_signature_is_right(mount, resolver):
    """Ids of every allowed character are signed and sent as they are."""
    ids = ["a.b-C.9", "...a", "-", "A" * 64, "0"]
    for id in ids:
        resolver.add_token(id=id)
    fs = mount()
    for id in ids:
        assert fs.text(id, "id") == id
    assert resolver.count("GetAccessToken", result="ok") == len(ids)


def test_messages_of_the_api_are_tamed(mount, resolver, token):
    """A message that is long, or has control characters or lines of its own, can't forge the log or flood it."""
    resolver.add_fault("status", status=500, message="bad\ntokenfs: error: forged\x1b[31m" + "x" * 10000,
                       operation="GetAccessToken")
    fs = mount(timeout=1, log_level="debug")
    assert fs.read_error(token["id"], "value") == "EREMOTEIO"
    assert "\ntokenfs: error: forged" not in fs.log() and "\x1b" not in fs.log()
    assert max(map(len, fs.log().splitlines())) < 1000


def test_date_header_absurd(mount, resolver, token):
    """A signature-time error with a senseless Date does no lasting harm: when the clock is right, reads work."""
    far = datetime.datetime(9999, 1, 1, tzinfo=datetime.timezone.utc).timestamp()
    resolver.set_clock(far)
    fs = mount(timeout=2)
    fs.read_error(token["id"], "value")
    resolver.clock_offset = 0
    fs.forget()
    until(lambda: error_of(os.stat, fs.at(token["id"], "value")) == "OK", "recovery")
