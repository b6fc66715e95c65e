"""The six operations: from a request to an answer, by way of latency, signature, faults, denials."""

import email.utils
import json
import uuid
from urllib.parse import unquote

from . import delivery, model
from .calls import Call
from .errors import ApiError, code_for_status
from .faults import transform

LISTS = {"ListAccessTokens": "accessTokens", "ListDNSViews": "dnsViews", "ListSharedDNSViews": "dnsViews",
         "ListGlobalResolvers": "globalResolvers"}
MAX_RESULTS = 100


class Api:
    """Answers one request after another; `owner` is the Resolver, which holds the settings."""

    def __init__(self, owner):
        self.owner = owner
        self._date = (None, "")

    def handle(self, connection, request):
        """The whole life of one call; gives whether the connection is kept."""
        owner = self.owner
        call = self._route(request, connection.number)
        if not connection.used:
            connection.used = True
            owner.log.connected()
        owner.log.begin(call, owner.clock())
        try:
            status, headers, body, fault = self._answer(connection, request, call)
            call.fault = fault.effect if fault is not None else None
            result = call.result_name(fault)
            return delivery.deliver(connection, fault, status, self._common(headers), body,
                                    request.keep, lambda: owner.log.end(call, result, status))
        finally:
            owner.log.end(call, "gone", None)

    def _route(self, request, connection):
        parts = [unquote(p) for p in request.path.split("/")[1:]]
        call = Route("Unknown", connection=connection)
        if request.method != "GET":
            return call
        if parts[0] == "tokens" and len(parts) == 2:
            call.operation, call.token = "GetAccessToken", parts[1][:200]
            document = self.owner.model.tokens.get(parts[1])
            if document is not None:
                call.dns_view = document["dnsViewId"]
                call.resolver = document["globalResolverId"]
        elif parts[:2] == ["tokens", "dns-view"] and len(parts) == 3:
            call.operation, call.dns_view = "ListAccessTokens", parts[2][:200]
            view = self.owner.model.views.get(parts[2])
            call.resolver = view["globalResolverId"] if view is not None else None
        elif parts[:2] == ["dns-views", "resolver"] and len(parts) == 3:
            call.operation, call.resolver = "ListDNSViews", parts[2][:200]
        elif parts == ["shared-dns-views"] and not self.owner.lacks_shared_views:
            call.operation = "ListSharedDNSViews"
        elif parts == ["global-resolver"]:
            call.operation = "ListGlobalResolvers"
        elif parts[0] == "global-resolver" and len(parts) == 2:
            call.operation, call.resolver = "GetGlobalResolver", parts[1][:200]
        return call

    def _common(self, headers):
        now = int(self.owner.clock())
        if self._date[0] != now:
            self._date = (now, email.utils.formatdate(now, usegmt=True))
        return [("Date", self._date[1]), ("x-amzn-RequestId", str(uuid.uuid4())), *headers]

    def _answer(self, connection, request, call):
        """Gives (status, headers, body, fault)."""
        owner = self.owner
        fault = None
        if not owner.answer_first:
            connection.pause(owner.latency_of(call))
        try:
            call.key = owner.verifier.verify(request).id
            if not owner.bucket.take(owner.rate_limit):
                raise ApiError("ThrottlingException", "Rate exceeded.", 429)
            fault = owner.faults.take(call, False)
            while fault is not None and fault.effect == "latency":
                connection.pause(fault.get("seconds", 1))
                fault = owner.faults.take(call, False, past=fault.number)
            if fault is not None and fault.effect == "hang" and fault.get("when") != "middle":
                connection.wait_for(fault.released)
                call.code, fault = fault.effect, None
            made = self._made_up(fault) if fault is not None else None
            if made is None:
                body = self._operate(request, call)
                if fault is None and (fault := owner.faults.take(call, True)) is not None:
                    body = transform(fault, body, LISTS.get(call.operation))
                made = 200, [], body
            answer = (*made, fault)
        except ApiError as error:
            call.code = error.code
            answer = (*error.render(owner.error_style), fault)
        if owner.answer_first:
            connection.pause(owner.latency_of(call))
        return answer

    def _made_up(self, fault):
        """The answer of a fault that doesn't need the operation, or None."""
        get = fault.get
        if fault.effect in ("status", "throttle"):
            status = _status_of(fault)
            headers = list(get("headers", {}).items())
            if get("retry_after") is not None:
                headers.append(("Retry-After", get("retry_after")))
            if get("retry_after_date") is not None:
                when = self.owner.clock() + get("retry_after_date")
                headers.append(("Retry-After", email.utils.formatdate(when, usegmt=True)))
            error = ApiError(_code_of(fault), get("message", "Simulated."), status, headers=headers)
            return error.render(get("style", self.owner.error_style))
        if fault.effect == "redirect":
            location = get("location", "http://169.254.169.254/latest/meta-data/")
            return get("status", 302), [("Location", location)], b""
        if fault.effect == "body":
            body = get("body", b"")
            headers = list(get("headers", {}).items())
            return get("status", 200), headers, body.encode() if isinstance(body, str) else body
        return None

    def _operate(self, request, call):
        """The operation itself: gives the body, or raises the error."""
        if call.operation == "Unknown":
            raise ApiError("UnknownOperationException", "No such operation.")
        for name, id in (("accessTokenId", call.token), ("dnsViewId", call.dns_view),
                         ("globalResolverId", call.resolver)):
            if id is not None and not model.ID_PATTERN.fullmatch(id):
                raise ApiError("ValidationException",
                               f"Value at '{name}' failed to satisfy constraint: Member must "
                               "satisfy regular expression pattern: [-.a-zA-Z0-9]+",
                               extra={"reason": "FIELD_VALIDATION_FAILED",
                                      "fieldList": [{"name": name, "message": "invalid"}]})
        if self.owner.is_denied(call):
            raise ApiError("AccessDeniedException",
                           f"User: arn:aws:iam::{model.ACCOUNT}:user/test is not authorized to "
                           f"perform: route53globalresolver:{call.operation} because no "
                           "identity-based policy allows the action")
        data = self.owner.model
        if call.operation == "GetAccessToken":
            return data.token_bytes(call.token)
        if call.operation == "GetGlobalResolver":
            return json.dumps(data.get_resolver(call.resolver)).encode()
        size, token = self._page_wanted(request)
        call.next_page = token is not None
        if call.operation == "ListAccessTokens":
            items, token = data.list_tokens(call.dns_view, size, token)
        elif call.operation == "ListDNSViews":
            items, token = data.list_views(call.resolver, size, token)
        elif call.operation == "ListSharedDNSViews":
            items, token = data.list_shared_views(size, token)
        else:
            items, token = data.list_resolvers(size, token)
        page = {LISTS[call.operation]: items}
        if token is not None:
            page["nextToken"] = token
        return json.dumps(page, ensure_ascii=False, separators=(",", ":")).encode()

    def _page_wanted(self, request):
        """Gives (page size, next token or None)."""
        wanted = {}
        for pair in filter(None, request.query.split("&")):
            name, _, value = pair.partition("=")
            wanted[unquote(name)] = unquote(value)
        size = wanted.get("max_results", str(self.owner.page_size))
        if not (size.isascii() and size.isdigit() and 1 <= int(size) <= MAX_RESULTS):
            raise ApiError("ValidationException",
                           "Value at 'maxResults' failed to satisfy constraint: Member must be "
                           f"between 1 and {MAX_RESULTS}.",
                           extra={"reason": "FIELD_VALIDATION_FAILED",
                                  "fieldList": [{"name": "max_results", "message": "invalid"}]})
        return int(size), wanted.get("next_token")


def _status_of(fault):
    return fault.get("status", 429 if fault.effect == "throttle" else 500)


def _code_of(fault):
    return fault.get("code") or code_for_status(_status_of(fault))


class Route(Call):
    """A call that remembers its error's code until its result is known."""

    __slots__ = ("code",)

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self.code = None

    def result_name(self, fault):
        """What the log calls the result."""
        if fault is not None and fault.effect in ("status", "throttle"):
            return _code_of(fault)
        if fault is not None:
            return fault.effect
        return self.code or "ok"
