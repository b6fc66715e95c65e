"""Listings that can't be had, are refused or odd: ls is right, or an error."""

import errno
import os

import pytest
from mounting import until

LISTS = ("ListGlobalResolvers", "ListDNSViews", "ListAccessTokens")


@pytest.mark.parametrize("fault, error", [
    ({"effect": "status", "status": 500}, "EREMOTEIO"),
    ({"effect": "throttle"}, "EBUSY"),
    ({"effect": "hang"}, "ETIMEDOUT"),
    ({"effect": "malformed"}, "EBADMSG"),
    ({"effect": "status", "status": 400, "code": "ValidationException"}, "EBADRQC"),
    ({"effect": "status", "status": 404, "code": "ResourceNotFoundException"}, "EBADRQC"),
])
def test_listing_that_never_was(mount, resolver, token, fault, error):
    """A listing that can't be had is an error of ls, not an empty directory; what is known meanwhile is shown."""
    resolver.add_fault(operation="ListGlobalResolvers", **fault)
    fs = mount(timeout=1)
    for path in (fs.path, f"{fs.path}/.by_name"):
        with pytest.raises(OSError) as failure:
            os.listdir(path)
        assert errno.errorcode[failure.value.errno] == error
    if error in ("EBADMSG", "EBADRQC"):     # after the others all calls pause
        assert fs.text(token["id"], "value") == token["value"]
        assert fs.tokens() == [token["id"]]


@pytest.mark.parametrize("operation", LISTS)
def test_refused_list_calls_empty_nothing(mount, resolver, operation):
    """A request that the service suddenly takes for invalid: the last good listing serves on, and the log says why."""
    tokens = sorted(t["id"] for t in resolver.add_tokens(3))
    fs = mount(ttl=0.3)
    assert fs.tokens() == tokens
    fault = resolver.add_fault("body", operation=operation, status=400,
                               headers={"x-amzn-ErrorType": "ValidationException"},
                               body='{"message": "no", "reason": "FIELD_VALIDATION_FAILED", '
                                    '"fieldList": [{"name": "max_results", "message": "too large"}]}')
    until(lambda: (fs.tokens(), resolver.count(operation, result="body"))[1] >= 2, "the refusals")
    assert fs.tokens() == tokens and sorted(fs.ls(".by_name")) == sorted(f"token-{i:05d}" for i in range(3))
    status = fs.status()["listing"]
    assert status["error"] == "refused" and status["tokens"] == 3, status
    lines = [line for line in fs.log().splitlines() if "FIELD_VALIDATION_FAILED: max_results: too large" in line]
    assert lines and len(lines) < 3, fs.log()
    resolver.remove_fault(fault)
    new = resolver.add_token()["id"]
    until(lambda: new in fs.tokens(), "the next listing")


def test_deleted_branches(mount, resolver):
    """Only the service's word that a view is gone ends it."""
    view = resolver.add_view(name="other")["id"]
    gone, kept = resolver.add_token(view=view)["id"], resolver.add_token()["id"]
    fs = mount(ttl=0.3)
    assert fs.tokens() == sorted([gone, kept])
    resolver.add_fault("status", operation="ListAccessTokens", dns_view=view, status=404,
                       code="ResourceNotFoundException")
    until(lambda: fs.tokens() == [kept], "the end of the view")


def test_shared_views_of_an_older_service(mount, resolver, token):
    """It doesn't know the call: nothing is shared, and nothing is wrong."""
    resolver.lacks_shared_views = True
    fs = mount()
    assert fs.tokens() == [token["id"]]
    assert fs.status()["listing"]["complete"] and "warning: listing" not in fs.log()


def test_empty_value(mount, resolver):
    """The service's model permits it: that file is empty, the others are right."""
    token = resolver.add_token(name="web", value="")
    fs = mount()
    assert fs.read(token["id"], "value") == b"" and os.stat(f"{fs.path}/{token['id']}/value").st_size == 0
    assert fs.text(token["id"], "id") == token["id"] and "value" in fs.ls(token["id"])


def test_shared_views(mount, resolver, token):
    """Views of other accounts are listed as well, where they may be; without, the rest stands, and one line says so."""
    shared = resolver.add_shared_view()
    theirs = resolver.add_token(name="theirs", view=shared["id"])
    fs = mount(ttl=0.3)
    assert fs.tokens() == sorted([token["id"], theirs["id"]])
    assert fs.text(".by_name", "theirs", "value") == theirs["value"]
    resolver.deny(operation="ListSharedDNSViews")
    until(lambda: fs.tokens() == [token["id"]], "the listing without")
    count = resolver.count("ListSharedDNSViews")
    until(lambda: fs.ls() and resolver.count("ListSharedDNSViews") > count + 3, "further listings")
    assert len([line for line in fs.log().splitlines() if "ListSharedDNSViews" in line]) == 1, fs.log()
    assert fs.read_error(".by_name", "unknown", "value") == "ENOENT"
    resolver.allow_all()
    until(lambda: fs.tokens() == sorted([token["id"], theirs["id"]]), "the listing with")


def test_malformed_items(mount, resolver):
    """One malformed item leaves the rest standing; it is counted, and warned of once."""
    tokens = resolver.add_tokens(3)
    resolver.update_token(tokens[1]["id"], status=7)
    fs = mount(ttl=0.3)
    assert fs.tokens() == sorted([tokens[0]["id"], tokens[2]["id"]])
    until(lambda: fs.ls() and resolver.count("ListAccessTokens") > 3, "further listings")
    assert len([line for line in fs.log().splitlines() if "malformed" in line]) == 1, fs.log()
    assert not fs.status()["listing"]["complete"] and fs.status()["listing"]["malformed"] == 1
