"""--check: its steps on the way to the service, and what the credentials may see; that it agrees with what a mount does,
and that it tells no secret."""
# pylint: disable=redefined-outer-name

import json
import pathlib
import subprocess
import time

import pytest
from mounting import BINARY, HANG, MountFailed, until
from resolver import Resolver

import aws_fakes
from checking import NO_KEYS, PLANTED, STEPS, Checker


@pytest.fixture
def check(resolver, directory):
    """A Checker for the stand-in."""
    return Checker(directory, resolver)


# --- Endpoint

def test_endpoint_and_region(check, resolver):
    """What chose it."""
    resolver.set(regions=None)
    outcome = check("-o", f"endpoint_url={resolver.url},region=eu-north-1", AWS_ENDPOINT_URL=None,
                    AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER="http://127.0.0.1:1", AWS_REGION="us-west-2")
    outcome.ok("endpoint", resolver.url, "endpoint_url=", "region eu-north-1")
    assert outcome.status == 0
    config = check.write(".aws/config", f"[default]\nendpoint_url = {resolver.url}\n")
    outcome = check(AWS_ENDPOINT_URL=None, AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER=None, AWS_CONFIG_FILE=config)
    outcome.ok("endpoint", resolver.url, "of the profile", "region us-east-2")


@pytest.mark.parametrize("words, environ, said", [
    (["-o", "use_fips"], {}, ["use_fips", "exclude"]),
    ([], {"AWS_USE_FIPS_ENDPOINT": "true"}, ["AWS_USE_FIPS_ENDPOINT", "exclude"]),
    (["-o", "region=no region"], {}, ["no region"]),
    (["-o", "endpoint_url=ftp://x"], {}, ["endpoint_url="]),
    (["-o", "endpoint_url=http://192.0.2.1"], {}, ["unencrypted"])])
def test_endpoint_is_refused(check, words, environ, said):
    """As before a mount; credentials are checked all the same."""
    outcome = check(*words, **environ)
    # What an option can't be is refused with the options already.
    step = "options" if outcome.names == ["options"] else "endpoint"
    outcome.failed(step, *said)
    if step == "endpoint":
        outcome.ok("credentials")
        outcome.skipped("lookup", "connection", "tls", "clock", "call", "listing")


# --- The way to the service

def test_no_such_host(check):
    """.invalid never exists."""
    outcome = check("-o", "timeout=5,endpoint_url=https://no-such-host.invalid")
    assert "endpoint_url=" in outcome.failed("lookup", "no-such-host.invalid")
    outcome.skipped("connection", "tls", "clock", "call", "listing")


def test_malformed_proxy(check):
    """Its password isn't in what people paste into reports of bugs (a Checker looks for what is planted)."""
    outcome = check(AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER="https://elsewhere.example",
                    HTTPS_PROXY=f"http://user:{PLANTED}/1@127.0.0.1:3128")
    assert "the proxy's URL is malformed" in outcome.output


def test_refused_connection(check, resolver, token):
    """Nobody listens."""
    resolver.stop()
    outcome = check("-o", "timeout=2", token["id"])
    assert "firewall" in outcome.failed("connection", str(resolver.port))
    outcome.ok("lookup")
    outcome.skipped("tls", "clock", "call", f"token={token['id']}")


def test_connection_that_comes_late(check, resolver, token):
    """A refusal or two are tried again."""
    resolver.stop()
    process = subprocess.Popen([BINARY, "--check", "--json", token["id"]], env=check.environ, text=True,
                               stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    time.sleep(0.3)         # the first try is over, the last isn't: or none was made yet
    resolver.start()
    output, _ = process.communicate(timeout=HANG)
    assert json.loads(output)["ok"] is True, output


def test_name_of_this_host(check, resolver):
    """A name is told with its address."""
    check("-o", f"endpoint_url=http://localhost:{resolver.port}").ok("lookup", "localhost is 127.0.0.1")


REASONS = {"untrusted": ("issuer", "ca_bundle="), "expired": ("expired", "renewed"), "wrong-host": ("subject name", "endpoint_url=")}


@pytest.mark.core
@pytest.mark.parametrize("kind", REASONS)
def test_certificates(directory, kind):
    """What is wrong with the certificate, whose authority was trusted, and what to do."""
    with Resolver(tls=kind) as service:
        check = Checker(directory, service)
        outcome = check()
        reason, remedy = REASONS[kind]
        assert remedy in outcome.failed("tls", reason, service.ca_file, "AWS_CA_BUNDLE")
        outcome.ok("connection", "127.0.0.1")
        outcome.skipped("clock", "call", "listing")
        assert service.counters()["calls"] == 0


@pytest.mark.parametrize("how", ["ca_bundle=", "AWS_CA_BUNDLE", "ca_bundle of the profile"])
def test_ca_bundle(directory, how):
    """Each way to name the authorities works, and is told."""
    with Resolver(tls="good") as service:
        check = Checker(directory, service)
        words = ["-o", f"ca_bundle={service.ca_file}"] if how == "ca_bundle=" else []
        if how == "ca_bundle of the profile":
            check.write(".aws/config", f"[default]\nca_bundle = {service.ca_file}\n")
        outcome = check(*words, AWS_CA_BUNDLE=service.ca_file if how == "AWS_CA_BUNDLE" else None)
        assert outcome.status == 0, outcome.output
        outcome.ok("tls", service.ca_file, f"({how})")


def test_ca_bundle_is_none(directory):
    """The bundle isn't there, or holds no certificates."""
    with Resolver(tls="good") as service:
        check = Checker(directory, service)
        for path in ("/no/such/bundle.pem", check.write("text", "no certificates\n")):
            assert "PEM" in check(AWS_CA_BUNDLE=path).failed("tls", path)


@pytest.mark.parametrize("offset, words, is_hinted", [
    (1200, ["1200 s behind", "corrected"], True), (-1200, ["s ahead of", "corrected"], True),
    (60, ["s behind", "tolerated"], False), (0, ["as the service's"], False)])
def test_clock(check, resolver, token, offset, words, is_hinted):
    """A clock that is off is reported; the call is corrected for it, with one call more."""
    resolver.clock_offset = offset
    outcome = check(token["id"])
    if abs(offset) == 1200:     # a second may pass in between
        words = [word.replace("1200 s", " s") for word in words]
    remedy = outcome.ok("clock", *words)
    assert (remedy is not None) == is_hinted
    assert outcome.status == 0
    assert resolver.count("GetAccessToken") == (2 if is_hinted else 1)


# --- What the credentials may see

def test_unknown_token(check):
    """No such token: the call was accepted, the token isn't there."""
    outcome = check("at-unknown")
    outcome.ok("call")
    assert "region=" in outcome.failed("token=at-unknown", "at-unknown")


def test_denied_token(check, resolver, token):
    """AccessDenied names the IAM action."""
    resolver.deny(operation="GetAccessToken")
    outcome = check(token["id"])
    outcome.ok("call")
    assert "route53globalresolver:GetAccessToken" in outcome.failed(f"token={token['id']}", "AccessDenied")


def test_denied_listing(check, resolver, token):
    """Without a token nothing tells that anything could be read; with one, it doesn't matter."""
    resolver.deny(operation=["ListGlobalResolvers", "ListDNSViews", "ListAccessTokens"])
    outcome = check()
    remedy = outcome.failed("listing", "AccessDenied")
    assert "route53globalresolver:ListGlobalResolvers" in remedy and "name one" in remedy
    assert check(token["id"]).status == 0


def test_each_permission(check, resolver):
    """Without a token each call that a mount makes is made once, down to one token; a denied one is named."""
    for _ in range(5):
        resolver.add_token(expires_in=-60)
    token = resolver.add_token()
    view, resolver_id = token["dnsViewId"], token["globalResolverId"]
    way = {"ListDNSViews": f"resolver={resolver_id}", "ListAccessTokens": f"dns_view={view}",
           "GetAccessToken": f"token={token['id']}"}
    outcome = check()
    assert outcome.status == 0, outcome.output
    outcome.ok(way["ListDNSViews"], "1 DNS view")
    outcome.ok(way["ListAccessTokens"], "6 tokens")
    assert resolver.count("GetAccessToken") == 1 and token["value"] not in outcome.output
    assert outcome.ok(way["GetAccessToken"], "OPERATIONAL") is None      # one that has not expired
    for operation, step in way.items():
        resolver.deny(operation=operation)
        outcome = check()
        failed = outcome.all_failed
        assert failed == [step]
        remedy = outcome.failed(step, "AccessDenied")
        assert f"route53globalresolver:{operation}" in remedy and "name one to check that" in remedy
        resolver.allow_all()


def test_scopes_go_down_to_a_token(check, resolver, token):
    """A scope's list call is followed as well."""
    outcome = check("-o", f"dns_view={token['dnsViewId']}")
    assert outcome.names[-2:] == [f"dns_view={token['dnsViewId']}", f"token={token['id']}"]
    outcome = check("-o", f"resolver={token['globalResolverId']}")
    assert outcome.names[-3:] == [f"resolver={token['globalResolverId']}", f"dns_view={token['dnsViewId']}",
                                  f"token={token['id']}"]
    assert outcome.status == 0 and resolver.count("ListGlobalResolvers") == 0


def test_refused_listing(check, resolver):
    """A request that the service refuses as invalid: the reason and the member are told, and what to look at."""
    resolver.add_fault("body", operation="ListGlobalResolvers", status=400,
                       headers={"x-amzn-ErrorType": "ValidationException"},
                       body='{"message": "no", "reason": "FIELD_VALIDATION_FAILED", '
                            '"fieldList": [{"name": "max_results", "message": "too large"}]}')
    outcome = check()
    outcome.ok("call")
    assert "region=" in outcome.failed("listing", "ValidationException", "FIELD_VALIDATION_FAILED", "max_results")


def test_shared_views(check, resolver):
    """Views of other accounts are counted; without the permission, or on an older service, a mount works all the same."""
    resolver.add_shared_view()
    check().ok("shared_dns_views", "1 shared DNS view")
    resolver.deny(operation="ListSharedDNSViews")
    outcome = check()
    assert outcome.status == 0
    outcome.ok("shared_dns_views", "route53globalresolver:ListSharedDNSViews")
    resolver.allow_all()
    resolver.lacks_shared_views = True
    outcome = check()
    assert outcome.status == 0
    outcome.ok("shared_dns_views", "0 shared DNS views")


def test_tokens_that_are_over(check, resolver):
    """Expired ones can be read, but it is told."""
    token = resolver.add_token(expires_in=-60)
    outcome = check(token["id"])
    assert "new one" in outcome.ok(f"token={token['id']}", "expired", "ago")
    assert outcome.status == 0


def test_scopes(check, resolver, token):
    """Each is tried with its own call, once."""
    view, owner = token["dnsViewId"], token["globalResolverId"]
    outcome = check("-o", f"token={token['id']},dns_view={view},resolver={owner}")
    assert outcome.status == 0
    outcome.ok(f"token={token['id']}", "OPERATIONAL")
    outcome.ok(f"dns_view={view}", "1 token")
    outcome.ok(f"resolver={owner}", "1 DNS view")
    assert resolver.counters()["operations"] == {"GetAccessToken": 1, "ListAccessTokens": 1, "ListDNSViews": 1, "Unknown": 1}


@pytest.mark.parametrize("scope, operation", [
    ("token", "GetAccessToken"), ("dns_view", "ListAccessTokens"), ("resolver", "ListDNSViews")])
def test_scopes_that_fail(check, resolver, token, scope, operation):
    """Denied, and not there: that step alone fails."""
    ids = {"token": token["id"], "dns_view": token["dnsViewId"], "resolver": token["globalResolverId"]}
    words = ["-o", ",".join(f"{name}={id}" for name, id in ids.items())]
    rule = resolver.deny(operation=operation)
    outcome = check(*words)
    assert f":{operation}" in outcome.failed(f"{scope}={ids[scope]}", "AccessDenied")
    assert outcome.all_failed == [f"{scope}={ids[scope]}"]
    resolver.allow(rule)
    outcome = check(*words, "-o", f"{scope}=unknown-one")
    outcome.failed(f"{scope}=unknown-one")
    assert outcome.all_failed == [f"{scope}=unknown-one"]


def test_token_and_scopes(check, resolver, token):
    """The token named is tried first, and must be in one of the scopes."""
    other = resolver.add_token()
    outcome = check("-o", f"token={token['id']}", token["id"])
    assert outcome.status == 0 and resolver.count("GetAccessToken") == 1
    outcome = check("-o", f"token={token['id']}", other["id"])
    assert outcome.names.index(f"token={other['id']}") < outcome.names.index(f"token={token['id']}")
    assert "token=" in outcome.failed(f"token={other['id']}", "scopes")
    assert check("-o", f"dns_view={other['dnsViewId']}", other["id"]).status == 0


def test_many_scopes(check, resolver):
    """More than can be in flight at once."""
    ids = [token["id"] for token in resolver.add_tokens(50)]
    outcome = check("-o", ",".join(f"token={id}" for id in ids))
    assert outcome.status == 0 and outcome.names[len(STEPS):] == [f"token={id}" for id in ids]
    assert resolver.counters()["max_concurrent"] <= 16


# --- Trouble of the service

def test_a_blip(check, resolver, token):
    """A failure that passes isn't told."""
    resolver.add_fault("status", status=503, count=1)
    outcome = check(token["id"])
    assert outcome.status == 0
    assert outcome.ok(f"token={token['id']}") is None and resolver.count("GetAccessToken") == 2


@pytest.mark.parametrize("effect, parameters, words", [
    ("status", {"status": 500}, ["500"]), ("throttle", {}, ["Throttling"]), ("hang", {}, ["GetAccessToken"]),
    ("body", {"status": 200, "body": "<html>Log in first</html>"}, ["GetAccessToken"]),
    ("redirect", {}, ["302"]), ("reset", {}, ["GetAccessToken"])])
def test_trouble_that_stays(check, resolver, token, effect, parameters, words):
    """It is told after the tries that fit into timeout=; all ends in time."""
    resolver.add_fault(effect, **parameters)
    outcome = check("-o", "timeout=1", token["id"])
    outcome.failed("call", *words)
    outcome.skipped(f"token={token['id']}")


def test_something_else_answers(check, resolver):
    """A web server that isn't the API, without a Date."""
    with aws_fakes.Fakes() as fakes:
        outcome = check("-o", f"endpoint_url={fakes.url},timeout=2")
    outcome.ok("connection")
    assert "endpoint_url=" in outcome.failed("call")


# --- What it says is true

WORLDS = {
    "good": {}, "no keys": NO_KEYS, "wrong secret": {"AWS_SECRET_ACCESS_KEY": "wrong"},
    "missing profile": {"AWS_PROFILE": "nobody"}, "nobody listens": {"AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER": "http://127.0.0.1:1"},
    "no such host": {"AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER": "https://no-such-host.invalid"},
    "no region": {"AWS_REGION": "nonsense!"}, "plain http": {"AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER": "http://192.0.2.1"},
    "fips": {"AWS_USE_FIPS_ENDPOINT": "1"}, "skewed": {}, "denied": {}, "gone": {},
}


@pytest.mark.parametrize("world", WORLDS)
def test_mount_agrees(check, mount, resolver, token, world):
    """Where it says that a mount works, one does, and only there."""
    if world == "skewed":
        resolver.clock_offset = -3600
        token = resolver.add_token()
    elif world == "denied":
        resolver.deny(token=token["id"])
    elif world == "gone":
        resolver.delete_token(token["id"])
    says = check("-o", "timeout=2", token["id"], **WORLDS[world]).status == 0
    try:
        works = mount(environ=WORLDS[world], timeout=2).read_error(token["id"], "value") == "OK"
    except MountFailed:
        works = False
    assert says is works is (world in ("good", "no region", "skewed"))


# --- Secrets

def test_no_secret_at_debug(check, resolver, token):
    """With everything logged, over good and bad paths: none of the secrets (Checker.run looks for them)."""
    session = PLANTED + "/session+token=="
    resolver.add_key("ASIASESSION000000001", PLANTED + "/secret", session_token=session)
    environ = {"AWS_ACCESS_KEY_ID": "ASIASESSION000000001", "AWS_SECRET_ACCESS_KEY": PLANTED + "/secret",
               "AWS_SESSION_TOKEN": session}
    words = ["-o", f"log_level=debug,timeout=1,token={token['id']}"]
    outcome = check(*words, **environ)
    assert outcome.status == 0 and "GetAccessToken" in outcome.log
    assert check(*words, **{**environ, "AWS_SECRET_ACCESS_KEY": PLANTED}).status == 1
    assert check(*words, **{**environ, "AWS_SESSION_TOKEN": PLANTED}).status == 1
    assert check(*words, **environ, HTTPS_PROXY=f"http://{PLANTED}:{PLANTED}@127.0.0.1:1",
                 AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER="https://elsewhere.example").status == 1
    assert check(*words, **environ, AWS_ENDPOINT_URL_ROUTE53GLOBALRESOLVER=f"https://u:{PLANTED}@elsewhere.example").status == 1
    for effect in ("malformed", "wrong_id", "duplicate", "nul"):
        fault = resolver.add_fault(effect)
        assert check(*words, **environ).status == 1
        resolver.remove_fault(fault)


def test_process_is_hidden(check, resolver, token):
    """Its memory isn't for others of the same user: not dumpable, no core."""
    resolver.add_fault("hang")
    process = subprocess.Popen([BINARY, "--check", token["id"]], env=check.environ, stdout=subprocess.DEVNULL,
                               stdin=subprocess.DEVNULL)
    try:
        resolver.wait_for(1, "GetAccessToken")
        limits = until(lambda: pathlib.Path(f"/proc/{process.pid}/limits").read_text(encoding="ascii"), "limits")
        core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
        assert core.split()[-3:-1] == ["0", "0"]
    finally:
        process.kill()
        process.wait(HANG)
