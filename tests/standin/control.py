"""/_control/…: changing and asking the stand-in by HTTP, for shell scripts. See tests/resolver.py
for the list of URLs. Not signed, not counted, not subject to faults or latency."""

import json
from urllib.parse import parse_qsl, unquote

from . import delivery
from .wire import Gone

PREFIX = "/_control"
_TEXTS = {"id", "name", "value", "secret", "session_token", "token", "operation", "dns_view", "view",
          "resolver", "key", "code", "message", "body", "description", "clientToken"}


class Refused(Exception):
    """The control request makes no sense."""


def _plain(name, text):
    """A form's value: JSON if it is a number or a word of JSON or a structure, else the text."""
    if name in _TEXTS:
        return text
    if text[:1] in "{[-0123456789" or text in ("true", "false", "null"):
        try:
            return json.loads(text)
        except ValueError:
            pass
    return text


def _arguments(request):
    """The members of a JSON body, of a form, and of the query, together."""
    found = {}
    text = request.body.decode()
    if text[:1] in ("{", "["):
        body = json.loads(text)
        found = body if isinstance(body, dict) else {"": body}
    elif text:
        found = {k: _plain(k, v) for k, v in parse_qsl(text, keep_blank_values=True)}
    found.update((k, _plain(k, v)) for k, v in parse_qsl(request.query, keep_blank_values=True))
    return found


def _tokens(owner, method, rest, arguments):
    model = owner.model
    if not rest:
        if method == "GET":
            return list(model.tokens.values())
        if method == "DELETE":
            return model.clear_tokens()
        if method == "POST" and "" in arguments:
            return model.load(arguments[""])
        if method == "POST" and "count" in arguments:
            return len(model.add_tokens(arguments.pop("count"), **arguments))
        if method == "POST":
            return model.add_token(**arguments)
    elif len(rest) == 1:
        if method == "GET":
            return model.tokens[rest[0]]
        if method in ("POST", "PUT", "PATCH"):
            return model.update_token(rest[0], **arguments)
        if method == "DELETE":
            return model.delete_token(rest[0])
    elif rest[1:] == ["rotate"] and method == "POST":
        return model.rotate_token(rest[0], **arguments)
    elif rest[1:] == ["history"] and method == "GET":
        return model.history(rest[0])
    raise Refused("no such request on tokens")


def _faults(owner, method, rest, arguments):
    if method == "GET" and not rest:
        return [fault.public() for fault in owner.faults.all()]
    if method == "POST" and not rest:
        return owner.add_fault(**arguments).public()
    if method == "DELETE":
        return owner.faults.remove(int(rest[0])) if rest else owner.clear_faults()
    raise Refused("no such request on faults")


def _keys(owner, method, rest, arguments):
    if method == "GET":
        return [key.public() for key in owner.verifier.keys.values()]
    if method == "POST":
        return owner.add_key(**arguments).public()
    if method == "DELETE" and rest:
        return owner.remove_key(rest[0])
    raise Refused("no such request on keys")


def _denials(owner, method, rest, arguments):
    if method == "GET":
        return [rule.public() for rule in owner.denials]
    if method == "POST":
        return owner.deny(**arguments).public()
    if method == "DELETE":
        return owner.allow_all()
    raise Refused("no such request on denials")


def _counters(owner, method, rest, arguments):
    if method == "DELETE":
        return owner.reset_counters()
    return owner.counters()


def _count(owner, method, rest, arguments):
    return owner.count(**arguments)


def _log(owner, method, rest, arguments):
    return [call.public() for call in owner.calls(**arguments)]


def _settings(owner, method, rest, arguments):
    if method in ("POST", "PUT", "PATCH"):
        owner.set(**arguments)
    return owner.settings()


def _latency(owner, method, rest, arguments):
    return owner.set_latency(**arguments)


def _connections(owner, method, rest, arguments):
    return owner.close_connections(idle_only=arguments.get("idle_only", True))


def _outage(owner, method, rest, arguments):
    return owner.outage(arguments["seconds"], delay=0.05)


def _stop(owner, method, rest, arguments):
    return owner.request_stop()


_ROUTES = {
    "tokens": _tokens, "faults": _faults, "keys": _keys, "denials": _denials, "log": _log,
    "counters": _counters, "count": _count, "settings": _settings, "latency": _latency,
    "connections": _connections, "outage": _outage, "stop": _stop,
    "views": lambda owner, method, rest, arguments: (
        owner.model.add_view(**arguments) if method == "POST" else list(owner.model.views.values())),
    "resolvers": lambda owner, method, rest, arguments: (
        owner.model.add_resolver(**arguments) if method == "POST"
        else list(owner.model.resolvers.values())),
}


def handle(owner, connection, request):
    """Answers a control request; gives whether the connection is kept."""
    parts = [unquote(p) for p in request.path[len(PREFIX):].split("/") if p]
    status = 200
    try:
        if not parts:
            answer = sorted(f"{PREFIX}/{name}" for name in _ROUTES)
        elif parts[0] not in _ROUTES:
            status, answer = 404, {"error": "no such control URL"}
        else:
            answer = _ROUTES[parts[0]](owner, request.method, parts[1:], _arguments(request))
    except Gone:
        raise
    except KeyError as error:
        status, answer = 404, {"error": f"not found: {error}"}
    except (Refused, TypeError, ValueError, AttributeError) as error:
        status, answer = 400, {"error": str(error)}
    body = json.dumps(answer, indent=1).encode() + b"\n"
    connection.send(delivery.packed(status, [], body, request.keep))
    return request.keep
