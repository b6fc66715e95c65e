"""Tests of the stand-in itself (tests/resolver.py), with botocore as the signer.

Whatever the end-to-end tests conclude rests on the stand-in, so it has to be right about
signatures, errors, pages, versions and counters; its faults are in test_resolver_faults.py."""

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
import urllib.error
import urllib.parse
import urllib.request

import pytest
from botocore.credentials import Credentials

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, TESTS)
from resolver import ACCESS_KEY, SECRET_KEY, Resolver                           # noqa: E402
from standin.probe import (Client, control, eventually, fails, get, parallel,   # noqa: E402
                           signed)


@pytest.fixture
def service():
    before = threading.active_count()
    with Resolver() as resolver:
        yield resolver
    assert threading.active_count() <= before, "a thread outlived stop()"


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


@pytest.mark.parametrize("path,status,code", [
    ("/tokens/nobody", 404, "ResourceNotFoundException"),
    ("/tokens/a_b", 400, "ValidationException"),
    ("/tokens/" + "a" * 65, 400, "ValidationException"),
    ("/tokens/%C3%A4%20b", 400, "ValidationException"),
    ("/tokens/dns-view/nobody", 404, "ResourceNotFoundException"),
    ("/dns-views/resolver/nobody", 404, "ResourceNotFoundException"),
    ("/global-resolver/nobody", 404, "ResourceNotFoundException"),
    ("/elsewhere", 404, "UnknownOperationException"),
    ("/global-resolver?max_results=0", 400, "ValidationException"),
    ("/global-resolver?max_results=101", 400, "ValidationException"),
    ("/global-resolver?max_results=x", 400, "ValidationException"),
    ("/global-resolver?next_token=x", 400, "ValidationException"),
])
def test_errors_of_the_operations(service, path, status, code):
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

def listed(service, path, array, size, between=lambda pages: None):
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
        between(pages)


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


def test_shared_views(service):
    shared = service.add_shared_view(name="theirs")
    token = service.add_token(view=shared["id"])
    found, _ = listed(service, "/shared-dns-views", "dnsViews", 1)
    assert found == [shared]
    assert shared["id"] not in [v["id"] for v in listed(
        service, f"/dns-views/resolver/{service.model.resolver_id}", "dnsViews", 10)[0]]
    assert [t["id"] for t in listed(service, f"/tokens/dns-view/{shared['id']}", "accessTokens", 10)[0]] == [token["id"]]
    service.delete_view(shared["id"])
    assert listed(service, "/shared-dns-views", "dnsViews", 1)[0] == []
    service.lacks_shared_views = True
    assert get(service, "/shared-dns-views")[0].status == 404


def test_waiting_for_calls(service):
    with pytest.raises(TimeoutError):
        service.wait_for(1, timeout=0.05)
    get(service, "/global-resolver")
    service.wait_for(1, "ListGlobalResolvers", result="ok", timeout=0)


def test_list_while_it_changes(service):
    tokens = service.add_tokens(30)

    def change(pages):
        service.delete_token(tokens[pages]["id"])
        service.delete_token(tokens[-pages]["id"])
        service.add_token(name="late")
    found, _ = listed(service, f"/tokens/dns-view/{service.model.view_id}", "accessTokens", 10,
                      between=change)
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


# Counters, connections, outages

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
    with pytest.raises(ConnectionRefusedError):
        get(service, path)
    eventually(lambda: service.running)
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


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
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
        with pytest.raises(OSError):
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
