"""Tests of the stand-in's faults and latencies: each kind of trouble arrives as it was ordered."""

import gzip
import http.client
import json
import os
import sys
import threading
import time

import pytest

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, TESTS)
from resolver import Resolver                                                   # noqa: E402
from standin.probe import Client, eventually, fails, get, signed                # noqa: E402


@pytest.fixture
def service():
    before = threading.active_count()
    with Resolver() as resolver:
        yield resolver
    assert threading.active_count() == before, "a thread outlived stop()"


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
    response, body, _ = faulty(service, "body", body="[]", status=418, content_type="a/b",
                               headers={"X-A": "1"})
    assert (response.status, response.headers["X-A"], body) == (418, "1", b"[]")
    assert response.headers["Content-Type"] == "a/b"
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
        service.wait_for(1, result="gone")
        eventually(lambda: service.counters()["open_connections"] == 0)
        return
    reader = threading.Thread(target=read)
    reader.start()
    service.wait_for(1, result="pending")
    eventually(lambda: fault.used == 1)
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
        assert service.count(result="hang") == 1


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
    service.set(latency=0.1, answer_first=True)
    got, path = [], f"/tokens/{quick['id']}"
    reader = threading.Thread(target=lambda: got.append(json.loads(get(service, path)[1])))
    reader.start()
    service.wait_for(1, result="pending")
    time.sleep(0.05)
    service.update_token(quick["id"], value="new")
    reader.join()
    assert got == [quick]
    service.latency = 30
    client = Client(service)
    threading.Timer(0.05, service.stop).start()
    with pytest.raises((OSError, http.client.HTTPException)):
        client.get("/global-resolver")
    client.close()
