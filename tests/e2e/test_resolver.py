"""Tests of the stand-in itself (tests/resolver.py), with botocore as the signer.

Whatever the end-to-end tests conclude rests on the stand-in, so it has to be right about
signatures, errors, pages, versions, counters, and each kind of trouble."""

import gzip
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, TESTS)
from resolver import ACCESS_KEY, SECRET_KEY, Resolver           # noqa: E402

GOOD = Credentials(ACCESS_KEY, SECRET_KEY)


@pytest.fixture
def service():
    before = threading.active_count()
    with Resolver() as resolver:
        yield resolver
    assert threading.active_count() == before, "a thread outlived stop()"


def signed(url, credentials=GOOD, region="us-east-2", name="route53globalresolver", headers=None):
    request = AWSRequest("GET", url, headers=headers or {})
    SigV4Auth(credentials, name, region).add_auth(request)
    return dict(request.headers)


class Client:
    """One keep-alive connection that signs what it sends."""

    def __init__(self, service, timeout=5, context=None):
        self.service = service
        make = http.client.HTTPSConnection if context else http.client.HTTPConnection
        more = {"context": context} if context else {}
        self.connection = make("127.0.0.1", service.port, timeout=timeout, **more)

    def get(self, path, **how):
        self.connection.request("GET", path, headers=signed(self.service.url + path, **how))
        response = self.connection.getresponse()
        return response, response.read()

    def close(self):
        self.connection.close()


def get(service, path, **how):
    client = Client(service)
    try:
        return client.get(path, **how)
    finally:
        client.close()


def fails(service, path, status, code, **how):
    response, body = get(service, path, **how)
    assert response.status == status
    assert response.headers["x-amzn-ErrorType"].split(":")[0] == code
    assert service.calls()[-1].result == code
    return json.loads(body)["message"]


def control(service, method, path, data=None):
    request = urllib.request.Request(f"{service}/_control/{path}", data, method=method)
    with urllib.request.urlopen(request, timeout=5) as response:
        return json.load(response)


def eventually(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


# Good calls

def test_get_token(service):
    token = service.add_token(name="web")
    response, body = get(service, f"/tokens/{token['id']}")
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json"
    assert json.loads(body) == token
    assert set(token) == {"id", "arn", "clientToken", "createdAt", "dnsViewId", "expiresAt",
                          "globalResolverId", "name", "status", "updatedAt", "value"}
    for name in ("createdAt", "expiresAt", "updatedAt"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", token[name])
    assert re.fullmatch(r"[-.a-zA-Z0-9]{1,64}", token["id"]) and 1 <= len(token["value"]) <= 100


def test_get_resolver(service):
    wanted = service.model.resolver_id
    document = json.loads(get(service, f"/global-resolver/{wanted}")[1])
    assert document["id"] == wanted and document["dnsName"] and document["ipv4Addresses"]


def test_optional_fields_and_exact_bytes(service):
    token = service.add_token(name=None, client_token=None, value="ä\"\\\n ", x={"y": [1]})
    document = json.loads(get(service, f"/tokens/{token['id']}")[1])
    assert "name" not in document and "clientToken" not in document
    assert document["value"] == "ä\"\\\n " and document["x"] == {"y": [1]}


def test_keep_alive_and_pipelining(service):
    path = f"/tokens/{service.add_token()['id']}"
    client = Client(service)
    for _ in range(5):
        assert client.get(path)[0].status == 200
    client.close()
    assert service.counters()["connections"] == 1
    head = "".join(f"{k}: {v}\r\n" for k, v in signed(service.url + path).items())
    one = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n{head}\r\n".encode()
    with socket.create_connection(("127.0.0.1", service.port)) as sock:
        sock.sendall(one * 3)
        data = b""
        while data.count(b"HTTP/1.1 200") < 3:
            data += sock.recv(65536)


@pytest.mark.parametrize("method,path,status,code", [
    ("GET", "/tokens/nobody", 404, "ResourceNotFoundException"),
    ("GET", "/tokens/a_b", 400, "ValidationException"),
    ("GET", "/tokens/" + "a" * 65, 400, "ValidationException"),
    ("GET", "/tokens/%C3%A4%20b", 400, "ValidationException"),
    ("GET", "/tokens/dns-view/nobody", 404, "ResourceNotFoundException"),
    ("GET", "/dns-views/resolver/nobody", 404, "ResourceNotFoundException"),
    ("GET", "/global-resolver/nobody", 404, "ResourceNotFoundException"),
    ("GET", "/elsewhere", 404, "UnknownOperationException"),
    ("GET", "/global-resolver?max_results=0", 400, "ValidationException"),
    ("GET", "/global-resolver?max_results=101", 400, "ValidationException"),
    ("GET", "/global-resolver?max_results=x", 400, "ValidationException"),
    ("GET", "/global-resolver?next_token=x", 400, "ValidationException"),
])
def test_errors_of_the_operations(service, method, path, status, code):
    assert fails(service, path, status, code)


@pytest.mark.parametrize("style", ["header", "type", "code", "none"])
def test_error_styles(service, style):
    service.set(error_style=style)
    response, body = get(service, "/tokens/nobody")
    body = json.loads(body)
    assert response.status == 404
    assert ("x-amzn-ErrorType" in response.headers) == (style == "header")
    assert ("__type" in body) == (style == "type") and ("code" in body) == (style == "code")
    with pytest.raises(ValueError):
        service.set(error_style="other")


# Signatures

def test_unsigned(service):
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(service.url + "/global-resolver")
    assert caught.value.code == 403
    assert service.count(result="MissingAuthenticationTokenException") == 1
    caught.value.close()


@pytest.mark.parametrize("code,how", [
    ("SignatureDoesNotMatch", {"credentials": Credentials(ACCESS_KEY, "wrong")}),
    ("SignatureDoesNotMatch", {"region": "eu-central-1"}),
    ("SignatureDoesNotMatch", {"name": "route53resolver"}),
    ("UnrecognizedClientException", {"credentials": Credentials("AKIDNOBODY", SECRET_KEY)}),
    ("InvalidClientTokenId", {"credentials": Credentials(ACCESS_KEY, SECRET_KEY, "session")}),
])
def test_bad_signers(service, code, how):
    fails(service, "/global-resolver", 403, code, **how)


@pytest.mark.parametrize("change", [
    {"Authorization": lambda v: v[:-4] + "0000"},
    {"Authorization": lambda v: v.replace("host;", "")},
    {"Authorization": lambda v: v.replace(";x-extra", "")},
    {"Authorization": lambda v: v.replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512")},
    {"Authorization": lambda v: v.split(", ")[0]},
    {"X-Amz-Date": lambda v: v[:-2] + "xZ"},
    {"X-Amz-Date": lambda v: str(int(v[:8]) + 1) + v[8:]},
    {"X-Extra": lambda v: "changed"},
    {"X-Amz-Content-SHA256": lambda v: "0" * 64},
    {"X-Amz-Unsigned": lambda v: "added"},
])
def test_tampering(service, change):
    headers = signed(service.url + "/global-resolver", headers={"X-Extra": "a  b"})
    ((name, edit),) = change.items()
    headers[name] = edit(headers.get(name, ""))
    client = Client(service)
    client.connection.request("GET", "/global-resolver", headers=headers)
    response = client.connection.getresponse()
    assert response.status == 403, response.read()
    client.close()


def test_body_and_query_are_signed(service):
    client = Client(service)
    headers = signed(service.url + "/global-resolver?max_results=7")
    client.connection.request("GET", "/global-resolver?max_results=8", headers=headers)
    assert client.connection.getresponse().status == 403
    client.connection.close()
    client.connection.request("GET", "/global-resolver?max_results=7", b"body", headers=headers)
    assert client.connection.getresponse().status == 403
    client.close()


@pytest.mark.parametrize("path", [
    "/tokens/a%20b", "/tokens/a%2Fb", "/tokens/%E2%82%AC", "/tokens/a~b", "//tokens/./x//y", "/tokens/x/",
    "/tokens/x?b=2&a=1&a=0&c", "/tokens/x?next_token=%2B%2F%3D%25%20~", "/tokens/a:b@c+d,e;f=(g)!*'$",
])
def test_odd_requests_verify(service, path):
    response, _ = get(service, path, headers={"X-Odd": "  a   b  ", "X-Empty": ""})
    assert response.status in (400, 404)


def test_session_keys(service):
    service.add_key("ASIATEMPORARY", "secret", session_token="se/ss+ion==", expires_in=100)
    good = Credentials("ASIATEMPORARY", "secret", "se/ss+ion==")
    assert get(service, "/global-resolver", credentials=good)[0].status == 200
    assert service.calls()[-1].key == "ASIATEMPORARY"
    for session in (None, "other"):
        fails(service, "/global-resolver", 403, "InvalidClientTokenId",
              credentials=Credentials("ASIATEMPORARY", "secret", session))
    service.clock_offset = 101
    fails(service, "/global-resolver", 403, "ExpiredTokenException", credentials=good)
    service.remove_key("ASIATEMPORARY")
    fails(service, "/global-resolver", 403, "UnrecognizedClientException", credentials=good)


def test_clock_skew(service):
    for offset in (290, -290):
        service.clock_offset = offset
        assert get(service, "/global-resolver")[0].status == 200
    for offset, words in ((310, "Signature expired"), (-310, "Signature not yet current")):
        service.clock_offset = offset
        assert words in fails(service, "/global-resolver", 403, "SignatureDoesNotMatch")
    service.set_clock(946684800)
    service.mismatch_code = "InvalidSignatureException"
    response, _ = get(service, "/global-resolver")
    assert response.headers["Date"].startswith("Sat, 01 Jan 2000 00:00:0")
    assert response.headers["x-amzn-ErrorType"].startswith("InvalidSignatureException:")


# Denials

def test_denials(service):
    token = service.add_token()
    path = f"/tokens/{token['id']}"
    for rule in ({"operation": "GetAccessToken"}, {"token": token["id"]}, {"key": ACCESS_KEY},
                 {"dns_view": token["dnsViewId"]}, {"resolver": [token["globalResolverId"], "x"]}):
        denial = service.deny(**rule)
        fails(service, path, 403, "AccessDeniedException")
        service.allow(denial)
        assert get(service, path)[0].status == 200
    service.deny(operation="ListAccessTokens")
    service.deny(token="nobody")
    assert get(service, path)[0].status == 200
    fails(service, f"/tokens/dns-view/{token['dnsViewId']}", 403, "AccessDeniedException")
    fails(service, "/tokens/nobody", 403, "AccessDeniedException")
    service.allow_all()
    fails(service, "/tokens/nobody", 404, "ResourceNotFoundException")


# Lists

def listed(service, path, array, size):
    client, found, token, pages = Client(service), [], None, 0
    while True:
        query = f"?max_results={size}"
        if token is not None:
            query += "&next_token=" + urllib.parse.quote(token, safe="")
        page = json.loads(client.get(path + query)[1])
        assert len(page[array]) <= size
        found += page[array]
        pages += 1
        token = page.get("nextToken")
        if token is None:
            client.close()
            return found, pages
        yield_to_changes = getattr(service, "between_pages", None)
        if yield_to_changes:
            yield_to_changes(pages)


def test_lists(service):
    tokens = service.add_tokens(25)
    other = service.add_view(name="other")
    service.add_token(view=other["id"])
    found, pages = listed(service, f"/tokens/dns-view/{service.model.view_id}", "accessTokens", 10)
    assert pages == 3
    assert found == [{k: v for k, v in t.items() if k not in ("value", "clientToken")} for t in tokens]
    found, _ = listed(service, f"/dns-views/resolver/{service.model.resolver_id}", "dnsViews", 1)
    assert [v["id"] for v in found] == [service.model.view_id, other["id"]]
    service.add_resolver()
    found, pages = listed(service, "/global-resolver", "globalResolvers", 1)
    assert len(found) == pages == 2
    service.page_size = 7
    page = json.loads(get(service, f"/tokens/dns-view/{service.model.view_id}")[1])
    assert len(page["accessTokens"]) == 7


def test_list_while_it_changes(service):
    tokens = service.add_tokens(30)

    def change(pages):
        service.delete_token(tokens[pages]["id"])
        service.delete_token(tokens[-pages]["id"])
        service.add_token(name="late")
    service.between_pages = change
    found, _ = listed(service, f"/tokens/dns-view/{service.model.view_id}", "accessTokens", 10)
    ids = [t["id"] for t in found]
    assert len(set(ids)) == len(ids)
    assert {t["id"] for t in tokens if t["id"] in service.model.tokens} <= set(ids)


def test_ten_thousand_tokens_are_quick(service):
    start = time.monotonic()
    service.add_tokens(10000)
    assert time.monotonic() - start < 3
    found, pages = listed(service, f"/tokens/dns-view/{service.model.view_id}", "accessTokens", 100)
    assert len(found) == 10000 and pages == 100


# Versions

def test_versions(service):
    token = service.add_token(name="web", value="one", created_at=1_700_000_000)
    at_one = time.monotonic()
    changed = service.update_token(token["id"], value="two", clientToken=None)
    at_two = time.monotonic()
    assert changed["updatedAt"] > token["updatedAt"] and "clientToken" not in changed
    assert json.loads(get(service, f"/tokens/{token['id']}")[1]) == changed
    new = service.rotate_token(token["id"])
    assert new["name"] == "web" and new["id"] != token["id"] and new["value"] not in ("one", "two")
    service.delete_token(token["id"])
    fails(service, f"/tokens/{token['id']}", 404, "ResourceNotFoundException")
    assert [d for _, d in service.history(token["id"])] == [token, changed, None]
    assert service.version_at(token["id"], at_one) == token
    assert service.version_at(token["id"], at_one - 1e6) is None
    assert service.versions_between(token["id"], at_one, at_two) == [token, changed]
    assert service.versions_between(token["id"], at_two, time.monotonic()) == [changed, None]


# Faults: answers

def test_status_faults(service):
    token, other = service.add_token(), service.add_token()
    path = f"/tokens/{token['id']}"
    service.add_fault("status", token=token["id"], status=503, retry_after=7, after=1, count=2)
    results = [get(service, path)[0] for _ in range(4)]
    assert [r.status for r in results] == [200, 503, 503, 200]
    assert results[1].headers["Retry-After"] == "7"
    assert get(service, f"/tokens/{other['id']}")[0].status == 200
    service.add_fault("throttle", retry_after_date=60)
    response, _ = get(service, path)
    assert response.status == 429 and response.headers["Retry-After"].endswith(" GMT")
    assert response.headers["x-amzn-ErrorType"].startswith("ThrottlingException:")
    service.clear_faults()
    service.add_fault("status", status=400, code="OddException", message="x", style="code",
                      headers={"X-More": "1"})
    response, body = get(service, path)
    assert json.loads(body) == {"message": "x", "code": "OddException"}
    assert response.headers["X-More"] == "1"
    assert service.count(result="OddException") == 1 and service.count(result="ok") == 3


def test_probability(service):
    service.add_fault("status", probability=0.5)
    client = Client(service)
    statuses = {client.get("/global-resolver")[0].status for _ in range(50)}
    client.close()
    assert statuses == {200, 500}


def faulty(service, effect, token=None, **parameters):
    """The body that a token's reader gets with this fault."""
    token = token or service.add_token(name="web", value="secret")
    fault = service.add_fault(effect, token=token["id"], **parameters)
    try:
        response, body = get(service, f"/tokens/{token['id']}")
        assert service.calls()[-1].fault == effect
        return response, body, token
    finally:
        service.remove_fault(fault)


def test_faults_of_the_document(service):
    _, body, token = faulty(service, "wrong_id")
    assert json.loads(body) == {**token, "id": "at-of-another"}
    _, body, token = faulty(service, "patch", fields={"value": 1, "name": None})
    assert json.loads(body) == {k: v for k, v in {**token, "value": 1}.items() if k != "name"}
    _, body, _ = faulty(service, "duplicate")
    assert body.count(b'"value":') == 2 and json.loads(body)["value"] == "second"
    _, body, _ = faulty(service, "duplicate", first=True, field="id")
    assert body.startswith(b'{"id":"second","id":')
    _, body, _ = faulty(service, "deep", depth=500)
    assert b"[" * 500 + b"]" * 500 in body
    _, body, _ = faulty(service, "nul")
    assert json.loads(body)["value"] == "s\x00ecret"
    _, body, _ = faulty(service, "nul", raw=True, field="name")
    assert b'"w\x00eb"' in body
    _, body, _ = faulty(service, "invalid_utf8")
    with pytest.raises(UnicodeDecodeError):
        body.decode()


def test_faults_of_the_answer(service):
    _, body, token = faulty(service, "malformed")
    with pytest.raises(ValueError):
        json.loads(body)
    response, body, token = faulty(service, "content_type", content_type="text/plain")
    assert response.headers["Content-Type"] == "text/plain" and json.loads(body) == token
    response, body, _ = faulty(service, "redirect", location="http://169.254.169.254/")
    assert response.status == 302 and response.headers["Location"] == "http://169.254.169.254/"
    _, body, _ = faulty(service, "body", body="[]")
    assert body == b"[]"
    _, body, token = faulty(service, "huge", size=1 << 20)
    assert len(body) > 1 << 20 and json.loads(body)["value"] == "secret"
    response, body, _ = faulty(service, "gzip_bomb", size=8 << 20)
    assert response.headers["Content-Encoding"] == "gzip" and len(body) < 100_000
    assert len(gzip.decompress(body)) > 8 << 20
    start = time.monotonic()
    _, body, token = faulty(service, "drip", interval=0.0002)
    assert json.loads(body) == token and time.monotonic() - start > 0.1
    with pytest.raises(http.client.LineTooLong):
        faulty(service, "long_header")
    with pytest.raises(http.client.BadStatusLine):
        faulty(service, "not_http")


def test_faults_of_lists(service):
    service.add_tokens(3)
    path = f"/tokens/dns-view/{service.model.view_id}"
    service.add_fault("huge_listing", items=500, count=1)
    page = json.loads(get(service, path + "?max_results=2")[1])
    assert len({t["id"] for t in page["accessTokens"]}) == 500
    service.add_fault("next_token_loop", operation="ListAccessTokens", count=2)
    assert [json.loads(get(service, path)[1])["nextToken"] for _ in range(2)] == ["again-0"] * 2
    service.clear_faults()
    service.add_fault("next_token_loop", fresh=True)
    assert [json.loads(get(service, path)[1])["nextToken"] for _ in range(2)] == ["again-1", "again-2"]


def test_faults_of_good_answers_wait_for_one(service):
    service.add_fault("wrong_id", token="at-1", count=1)
    fails(service, "/tokens/at-1", 404, "ResourceNotFoundException")
    service.add_token(id="at-1")
    assert json.loads(get(service, "/tokens/at-1")[1])["id"] == "at-of-another"
    assert get(service, "/tokens/at-1")[0].status == 200


# Faults: the wire

@pytest.mark.parametrize("effect,more,error", [
    ("reset", {}, ConnectionResetError),
    ("reset", {"when": "middle"}, ConnectionResetError),
    ("close", {}, http.client.RemoteDisconnected),
    ("cut", {}, http.client.IncompleteRead),
])
def test_broken_connections(service, effect, more, error):
    with pytest.raises(error):
        faulty(service, effect, **more)
    assert service.count(result=effect) == 1
    eventually(lambda: service.counters()["open_connections"] == 0)


def test_endless(service):
    token = service.add_token()
    service.add_fault("endless", token=token["id"])
    client = Client(service)
    path = f"/tokens/{token['id']}"
    client.connection.request("GET", path, headers=signed(service.url + path))
    response = client.connection.getresponse()
    assert len(response.read(1 << 22)) == 1 << 22
    service.clear_faults()
    response.read()
    client.close()


@pytest.mark.parametrize("when", ["before", "middle"])
@pytest.mark.parametrize("how", ["clear", "remove", "stop", "leave"])
def test_hang(service, when, how):
    token = service.add_token(value="old")
    fault = service.add_fault("hang", token=token["id"], when=when)
    got = []

    def read():
        try:
            got.append(get(service, f"/tokens/{token['id']}")[1])
        except (OSError, http.client.HTTPException) as error:
            got.append(type(error))
    if how == "leave":
        client = Client(service, timeout=0.1)
        with pytest.raises(TimeoutError):
            client.get(f"/tokens/{token['id']}")
        client.close()
        eventually(lambda: service.count(result="gone" if when == "before" else "hang") == 1
                   or service.count(result="gone") == 1)
        return
    reader = threading.Thread(target=read)
    reader.start()
    eventually(lambda: service.count(result="pending") == 1 and fault.used == 1)
    assert get(service, "/global-resolver")[0].status == 200
    if how == "stop":
        service.stop()
    else:
        service.update_token(token["id"], value="new")
        service.clear_faults() if how == "clear" else service.remove_fault(fault)
    reader.join(5)
    if how == "stop":
        assert isinstance(got[0], type)
        service.start()
    else:
        assert json.loads(got[0])["value"] == ("new" if when == "before" else "old")


def test_latency(service):
    slow, quick = service.add_token(), service.add_token()
    service.set_latency(0.1, token=slow["id"])
    service.set_latency(0.05, operation="GetGlobalResolver")

    def seconds(path):
        start = time.monotonic()
        assert get(service, path)[0].status == 200
        return time.monotonic() - start
    assert seconds(f"/tokens/{slow['id']}") > 0.1
    assert seconds(f"/tokens/{quick['id']}") < 0.09
    assert seconds(f"/global-resolver/{service.model.resolver_id}") > 0.05
    service.set_latency(None, token=slow["id"])
    service.add_fault("latency", seconds=0.1, count=1)
    assert seconds(f"/tokens/{slow['id']}") > 0.1
    assert seconds(f"/tokens/{slow['id']}") < 0.09
    service.latency = 30
    client = Client(service)
    threading.Timer(0.05, service.stop).start()
    with pytest.raises((OSError, http.client.HTTPException)):
        client.get("/global-resolver")
    client.close()


# Counters, connections, outages

def parallel(service, paths, connections):
    """Gets all paths over so many connections; gives the seconds that it took."""
    left, failed = iter(paths), []
    lock = threading.Lock()

    def work():
        client = Client(service, timeout=20)
        while True:
            with lock:
                path = next(left, None)
            if path is None:
                return client.close()
            if client.get(path)[0].status != 200:
                failed.append(path)
    threads = [threading.Thread(target=work) for _ in range(connections)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    return time.monotonic() - start


def test_counters(service):
    tokens = service.add_tokens(8)
    service.latency = 0.05
    parallel(service, [f"/tokens/{t['id']}" for t in tokens for _ in range(2)], 8)
    get(service, "/tokens/nobody")
    counters = service.counters()
    assert counters["calls"] == 17 and counters["operations"] == {"GetAccessToken": 17}
    assert counters["tokens"] == {**{t["id"]: 2 for t in tokens}, "nobody": 1}
    assert counters["results"] == {"ok": 16, "ResourceNotFoundException": 1}
    assert 6 <= counters["max_concurrent"] <= 8 and counters["concurrent"] == 0
    assert counters["connections"] == 9
    assert service.count("GetAccessToken", tokens[0]["id"], "ok") == 2
    calls = service.calls(token=tokens[0]["id"])
    assert len(calls) == 2 and all(c.end - c.start >= 0.05 for c in calls)
    service.reset_counters()
    assert service.counters()["calls"] == service.counters()["connections"] == 0
    assert not service.calls()


def test_log_has_no_secrets(service):
    token = service.add_token(value="planted-value")
    service.add_key("ASIATEMPORARY", "planted-secret", session_token="planted-session")
    get(service, f"/tokens/{token['id']}",
        credentials=Credentials("ASIATEMPORARY", "planted-secret", "planted-session"))
    shown = control(service.url, "GET", "log"), control(service.url, "GET", "keys"), service.counters()
    assert "planted" not in json.dumps(shown) and "ASIATEMPORARY" in json.dumps(shown)


def test_outage(service):
    path = f"/tokens/{service.add_token()['id']}"
    client, port = Client(service), service.port
    assert client.get(path)[0].status == 200
    service.stop()
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        client.get(path)
    with pytest.raises(ConnectionRefusedError):
        get(service, path)
    service.start()
    assert service.port == port and get(service, path)[0].status == 200
    service.outage(0.1)
    eventually(lambda: not service._server.running)
    with pytest.raises(ConnectionRefusedError):
        get(service, path)
    eventually(lambda: service._server.running)
    assert get(service, path)[0].status == 200
    client.close()


def test_idle_connections_are_closed(service):
    client = Client(service)
    assert client.get("/global-resolver")[0].status == 200
    eventually(lambda: all(c.idle for c in service._server._threads))
    service.close_connections()
    eventually(lambda: service.counters()["open_connections"] == 0)
    client.close()
    service.idle_timeout = 0.05
    assert client.get("/global-resolver")[0].status == 200
    eventually(lambda: service.counters()["open_connections"] == 0)
    client.close()


@pytest.mark.parametrize("text", [
    b"\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/2.0\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
    b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"x" * 70000, b"",
])
def test_bad_clients(service, text, capfd):
    with socket.create_connection(("127.0.0.1", service.port), timeout=5) as sock:
        sock.sendall(text)
        if text:
            try:
                assert sock.recv(100).startswith(b"HTTP/1.1 400 ")
            except ConnectionResetError:
                assert len(text) > 65536
    assert get(service, "/global-resolver")[0].status == 200
    assert capfd.readouterr() == ("", "")


def test_speed(service):
    tokens = service.add_tokens(1000)
    paths = [f"/tokens/{t['id']}" for t in tokens]
    service.latency = 0.02
    seconds = parallel(service, paths, 16)
    assert service.count(result="ok") == 1000
    assert seconds < 12, f"{seconds:.1f} s for 1,000 calls over 16 connections at 20 ms"


# TLS

def test_tls():
    for kind, words in (("good", None), ("expired", "expired"), ("wrong-host", "mismatch"),
                        ("untrusted", "unable to get local issuer|self.signed")):
        with Resolver(tls=kind) as service:
            context = ssl.create_default_context(cafile=service.ca_file)
            client = Client(service, context=context)
            if words is None:
                assert client.get("/global-resolver")[0].status == 200
                assert client.connection.sock.version() in ("TLSv1.2", "TLSv1.3")
                client.connection.close()
                client.connection.host = "localhost"
                client.connection.connect()
            else:
                with pytest.raises(ssl.SSLCertVerificationError, match=words):
                    client.get("/global-resolver")
                eventually(lambda: service.counters()["tls_failures"])
                assert service.counters()["connections"] == 0
            client.close()


def test_tls_faults():
    with Resolver(tls="good") as service:
        token = service.add_token()
        client = Client(service, context=ssl.create_default_context(cafile=service.ca_file))
        service.add_fault("reset", count=1)
        with pytest.raises(OSError):
            client.get(f"/tokens/{token['id']}")
        client.close()
        service.add_fault("hang", token=token["id"])
        thread = threading.Thread(target=lambda: pytest.raises(Exception, client.get, f"/tokens/{token['id']}"))
        thread.start()
        eventually(lambda: service.count(result="pending") == 1)
    thread.join(5)
    assert not thread.is_alive()
    client.close()


def test_no_old_tls():
    with Resolver(tls="good") as service:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(service.ca_file)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError):
            Client(service, context=context).get("/global-resolver")


# As a program

def test_program(tmp_path):
    file = tmp_path / "tokens.json"
    file.write_text('[{"id": "at-1", "name": "web", "value": "v", "dnsViewId": "dnsv-1"}]')
    program = subprocess.Popen([sys.executable, os.path.join(TESTS, "resolver.py"), "--port", "0",
                                "--tokens", str(file), "--count", "3", "--key", "AK:SK:ST", "--environ"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        url = program.stdout.readline().strip()
        assert program.stdout.readline() == "export AWS_ACCESS_KEY_ID='AK'\n"
        assert len(control(url, "GET", "tokens")) == 4
        assert control(url, "GET", "tokens/at-1")["value"] == "v"
        request = urllib.request.Request(f"{url}/tokens/at-1", headers=signed(
            f"{url}/tokens/at-1", credentials=Credentials("AK", "SK", "ST")))
        assert json.load(urllib.request.urlopen(request))["dnsViewId"] == "dnsv-1"

        assert control(url, "POST", "tokens", b"name=api&value=123")["value"] == "123"
        assert control(url, "POST", "tokens", b'{"id": "at-2", "name": "x"}')["id"] == "at-2"
        assert control(url, "POST", "tokens/at-2", b"value=new")["value"] == "new"
        assert control(url, "POST", "tokens/at-2/rotate")["name"] == "x"
        control(url, "DELETE", "tokens/at-2")
        assert [d and d["value"] for _, d in control(url, "GET", "tokens/at-2/history")][1:] == ["new", None]
        assert control(url, "POST", "tokens?count=5") == 5
        assert control(url, "POST", "views", b"name=lab")["name"] == "lab"
        fault = control(url, "POST", "faults", b"effect=status&status=503&token=at-1&count=1")
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(request)
        assert control(url, "GET", "faults")[0]["used"] == 1
        control(url, "DELETE", f"faults/{fault['number']}")
        assert control(url, "GET", "faults") == []
        control(url, "POST", "denials", b"operation=ListAccessTokens")
        assert control(url, "GET", "denials") == [{"operation": ["ListAccessTokens"]}]
        control(url, "POST", "latency", b"seconds=0.01")
        assert control(url, "POST", "settings", b"page_size=3")["latency"] == 0.01
        assert control(url, "GET", "count?token=at-1&result=ok") == 1
        assert control(url, "GET", "counters")["calls"] == 2
        control(url, "DELETE", "counters")
        assert control(url, "GET", "log") == []
        for method, path, code in (("GET", "nothing", 404), ("POST", "faults?effect=x", 400),
                                   ("GET", "tokens/nobody", 404), ("POST", "settings?x=1", 400)):
            with pytest.raises(urllib.error.HTTPError) as caught:
                control(url, method, path)
            assert caught.value.code == code
            caught.value.close()
        control(url, "POST", "outage", b"seconds=0.2")
        with pytest.raises(urllib.error.URLError):
            while True:
                control(url, "GET", "faults")
        time.sleep(0.3)
        assert control(url, "GET", "faults") == []
        program.send_signal(signal.SIGTERM)
        assert program.wait(5) == 0
        assert program.stderr.read() == ""
    finally:
        program.kill()
        program.wait()
        program.stdout.close()
        program.stderr.close()
