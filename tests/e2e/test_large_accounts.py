"""Accounts with more tokens than a directory can show: an error that says so, and reads that go on."""

import http.server
import json
import os
import threading
import urllib.parse

import pytest
from mounting import bounded, error_of

PAGE = 1000


class Account(http.server.BaseHTTPRequestHandler):
    """An API with one view of `server.count` tokens, named after their numbers."""

    protocol_version = "HTTP/1.1"

    def item(self, number):
        """A token, without its value."""
        return {"id": f"at-{number:06}", "name": f"n-{number}", "arn": f"arn:aws:x::1:access-token/at-{number:06}",
                "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z", "dnsViewId": "dnsv-1",
                "expiresAt": "2099-01-01T00:00:00Z", "globalResolverId": "gr-1", "status": "OPERATIONAL"}

    def answer(self, url):
        """What the API says."""
        if url.path == "/global-resolver":
            return {"globalResolvers": [{"id": "gr-1"}]}
        if url.path.startswith("/dns-views/"):
            return {"dnsViews": [{"id": "dnsv-1"}]}
        if url.path == "/shared-dns-views":
            return {"dnsViews": []}
        if not url.path.startswith("/tokens/dns-view/"):
            return {**self.item(int(url.path[-6:])), "value": "secret"}
        first = int(urllib.parse.parse_qs(url.query).get("next_token", ["0"])[0])
        last = min(first + PAGE, self.server.count)
        more = {"nextToken": str(last)} if last < self.server.count else {}
        return {"accessTokens": [self.item(number) for number in range(first, last)], **more}

    def do_GET(self):
        """Any request."""
        body = json.dumps(self.answer(urllib.parse.urlsplit(self.path))).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing."""


@pytest.fixture
def account():
    """A server; the test sets its count."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Account)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_more_than_a_directory_shows(mount, account):
    """ls is refused with EFBIG; an empty, or a cut, directory would be taken for the account. Reads go on."""
    account.count = 270_000
    fs = mount(endpoint_url=f"http://127.0.0.1:{account.server_port}", timeout=120, ttl=3600)
    assert bounded(fs.text, ".by_name", "n-269999", "value") == "secret"
    assert bounded(error_of, os.listdir, fs.path) == "EFBIG"
    assert bounded(error_of, os.listdir, fs.at(".by_name")) == "EFBIG"
    assert fs.text("at-000007", "value") == "secret"
    assert fs.text(".by_name", "n-7", "value") == "secret"


def test_as_many_as_are_shown(mount, account):
    """Directories that share the table of slots show all, whichever is read, however often."""
    account.count = 140_000
    fs = mount(endpoint_url=f"http://127.0.0.1:{account.server_port}", timeout=120, ttl=3600)
    for _ in range(2):
        assert len(fs.tokens()) == account.count
        assert len(bounded(os.listdir, fs.at(".by_name"))) == account.count
