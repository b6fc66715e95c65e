"""A signed client for tests of the stand-in, and of whatever wants a reader without a mount.
Needs botocore, which is the judge of signatures here."""

import http.client
import json
import threading
import time
import urllib.request

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from resolver import ACCESS_KEY, SECRET_KEY

GOOD = Credentials(ACCESS_KEY, SECRET_KEY)


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
