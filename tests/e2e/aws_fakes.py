"""Fake STS, Identity Center (SSO and SSO-OIDC), sign-in service, container host and instance metadata service, on one
loopback port.

Their paths differ, so one server is all of them. Answers are made of what was asked, so that two clients that ask for
the same get the same keys, and a test can tell which role was taken with which source. Every call is kept in `calls`.
"""

import hashlib
import hmac
import json
import socket
import threading
import time
from calendar import timegm
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, parse_qsl, urlsplit

import login_fake

ROLES = "/latest/meta-data/iam/security-credentials/"


def keys_for(*parts):
    """The keys that belong to what was asked."""
    digest = hashlib.sha256("|".join(parts).encode()).hexdigest()
    return {"id": "ASIA" + digest[:16].upper(), "secret": "secret+/" + digest[16:48], "token": "session+/=" + digest}


def stamp(when):
    """A time as AWS writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))


class Call:
    """One request that came."""

    def __init__(self, kind, method, path, headers, body):
        self.kind = kind
        self.method = method
        self.path = path
        self.query = dict(parse_qsl(urlsplit(path).query, keep_blank_values=True))
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.body = body

    @property
    def form(self):
        """The form that was posted."""
        return {name: values[0] for name, values in parse_qs(self.body.decode(), keep_blank_values=True).items()}


class Server(ThreadingHTTPServer):
    """Of either family."""
    daemon_threads = True

    def __init__(self, address, handler):
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)


class Fakes:
    """The services, running while in `with`. What they do is changed by setting attributes."""

    def __init__(self, address=("127.0.0.1", 0)):
        self.calls = []
        self.known_keys = {}        # access key id → (secret, session token or None): who may call STS
        self.lifetime = 3600        # of all credentials, in seconds
        self.skew = 0               # of their clock
        self.delay = {}             # kind → seconds before the answer
        self.faults = {}            # kind → list of answers that come first: (status, body, content type)
        self.identity_tokens = {}   # web identity token → subject; any other is refused
        self.sso_tokens = set()     # access tokens that are signed in
        self.refresh_tokens = {}    # refresh token → (access token, next refresh token or None)
        self.logins = {}            # refresh token of `aws login` → (point of its key, next refresh token)
        self.proofs = set()         # ids of DPoP proofs that were used
        self.container_token = None     # the Authorization that it wants
        self.imds_role = "machine"      # None: the instance has none
        self.imds_has_v2 = True
        self.imds_needs_v2 = True
        self.imds_expires = None        # overrides the lifetime: absolute
        self._lock = threading.Lock()
        self._server = Server(address, self._handler())
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        self.url = f"http://{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def of(self, kind):
        """The calls of a kind, oldest first."""
        with self._lock:
            return [call for call in self.calls if call.kind == kind]

    def forget(self):
        """No call has come."""
        with self._lock:
            self.calls.clear()

    # --- What each answers: (status, body, content type)

    def answer(self, call):
        """The fault that is next in line, or what the service says."""
        with self._lock:
            self.calls.append(call)
            faults = self.faults.get(call.kind)
            fault = faults.pop(0) if faults else None
        time.sleep(self.delay.get(call.kind, 0))
        return fault or getattr(self, f"_{call.kind}")(call)

    def _end(self):
        return time.time() + self.skew + self.lifetime

    def _sts(self, call):
        form = call.form
        action = form.get("Action")
        if form.get("Version") != "2011-06-15" or call.method != "POST":
            return self._sts_error(400, "InvalidAction")
        if not form.get("RoleArn", "").startswith("arn:") or not 2 <= len(form.get("RoleSessionName", "")) <= 64:
            return self._sts_error(400, "ValidationError")
        if action == "AssumeRoleWithWebIdentity":
            subject = self.identity_tokens.get(form.get("WebIdentityToken"))
            if "authorization" in call.headers or subject is None:
                return self._sts_error(400, "InvalidIdentityToken")
            keys = keys_for(form["RoleArn"], subject)
        elif action == "AssumeRole":
            problem = self._signature_problem(call)
            if problem:
                return self._sts_error(403, problem)
            source = call.headers["authorization"].split("Credential=")[1].split("/")[0]
            keys = keys_for(form["RoleArn"], source, form.get("ExternalId", ""), form.get("DurationSeconds", ""))
        else:
            return self._sts_error(400, "InvalidAction")
        self.known_keys[keys["id"]] = (keys["secret"], keys["token"])
        return 200, f"""<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <{action}Result>
    <AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/x/y</Arn><AssumedRoleId>AROA:y</AssumedRoleId></AssumedRoleUser>
    <Credentials>
      <AccessKeyId>{keys["id"]}</AccessKeyId>
      <SecretAccessKey>{keys["secret"]}</SecretAccessKey>
      <SessionToken>{keys["token"]}</SessionToken>
      <Expiration>{stamp(self._end())}</Expiration>
    </Credentials>
  </{action}Result>
  <ResponseMetadata><RequestId>00000000-0000-0000-0000-000000000000</RequestId></ResponseMetadata>
</{action}Response>
""", "text/xml"

    @staticmethod
    def _sts_error(status, code):
        return status, f"""<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <Error><Type>Sender</Type><Code>{code}</Code><Message>No &lt;such&gt; luck</Message></Error>
  <RequestId>00000000-0000-0000-0000-000000000000</RequestId>
</ErrorResponse>
""", "text/xml"

    def _signature_problem(self, call):
        """Signature Version 4, from the server's side; None if all is well."""
        fields = dict(part.strip().split("=", 1) for part in
                      call.headers.get("authorization", " ").split(" ", 1)[1].split(",") if "=" in part)
        if not fields:
            return "MissingAuthenticationToken"
        key_id, day, region, service, _ = fields["Credential"].split("/")
        secret, token = self.known_keys.get(key_id, (None, None))
        if secret is None or call.headers.get("x-amz-security-token") != token:
            return "InvalidClientTokenId"
        sent = timegm(time.strptime(call.headers["x-amz-date"], "%Y%m%dT%H%M%SZ"))
        if abs(time.time() + self.skew - sent) > 300 or service != "sts":
            return "SignatureDoesNotMatch"
        names = fields["SignedHeaders"].split(";")
        canonical = "\n".join([call.method, urlsplit(call.path).path, "",
                               *(f"{name}:{' '.join(call.headers[name].split())}" for name in names), "",
                               ";".join(names), hashlib.sha256(call.body).hexdigest()])
        text = "\n".join(["AWS4-HMAC-SHA256", call.headers["x-amz-date"], f"{day}/{region}/sts/aws4_request",
                          hashlib.sha256(canonical.encode()).hexdigest()])
        key = ("AWS4" + secret).encode()
        for part in (day, region, "sts", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        good = hmac.digest(key, text.encode(), "sha256").hex() == fields["Signature"]
        return None if good else "SignatureDoesNotMatch"

    def _sso(self, call):
        if call.headers.get("x-amz-sso_bearer_token") not in self.sso_tokens:
            return 401, json.dumps({"__type": "UnauthorizedException", "message": "Session token not found"}), None
        keys = keys_for("sso", call.query["account_id"], call.query["role_name"])
        self.known_keys[keys["id"]] = (keys["secret"], keys["token"])
        return 200, json.dumps({"roleCredentials": {
            "accessKeyId": keys["id"], "secretAccessKey": keys["secret"], "sessionToken": keys["token"],
            "expiration": int(self._end()) * 1000}}), None

    def _oidc(self, call):
        asked = json.loads(call.body)
        refreshed = self.refresh_tokens.pop(asked.get("refreshToken"), None)
        if asked.get("grantType") != "refresh_token" or not asked.get("clientSecret") or refreshed is None:
            return 400, json.dumps({"error": "invalid_grant", "error_description": "Invalid refresh token"}), None
        access, refresh = refreshed
        self.sso_tokens.add(access)
        answer = {"accessToken": access, "expiresIn": 28800, "tokenType": "Bearer"}
        return 200, json.dumps({**answer, "refreshToken": refresh} if refresh else answer), None

    def _signin(self, call):
        asked = json.loads(call.body)
        point, following = self.logins.get(asked.get("refreshToken"), (None, None))
        if (asked.get("grantType"), asked.get("clientId")) != ("refresh_token", login_fake.CLIENT) or \
                "authorization" in call.headers:
            return self.signin_error(400, "INVALID_REQUEST", "ValidationException")
        if point is None:
            return self.signin_error(401, "TOKEN_EXPIRED")
        problem = login_fake.problem_with(call.headers.get("dpop", ""), self.url + call.path, point, self.proofs,
                                          time.time() + self.skew)
        if problem:
            return self.signin_error(400, "INVALID_REQUEST", "ValidationException", problem)
        del self.logins[asked["refreshToken"]]
        self.logins[following] = (point, following + "+")
        keys = keys_for("login", following)
        self.known_keys[keys["id"]] = (keys["secret"], keys["token"])
        return 200, json.dumps({"accessToken": {"accessKeyId": keys["id"], "secretAccessKey": keys["secret"],
                                                "sessionToken": keys["token"]},
                                "tokenType": "urn:aws:params:oauth:token-type:access_token_sigv4",
                                "expiresIn": min(self.lifetime, 900), "refreshToken": following}), None

    @staticmethod
    def signin_error(status, error, kind="AccessDeniedException", message="no"):
        """An answer that refuses."""
        return status, json.dumps({"__type": kind, "error": error, "message": message}), None

    def _container(self, call):
        if self.container_token is not None and call.headers.get("authorization") != self.container_token:
            return 401, json.dumps({"code": "Unauthorized", "message": "no"}), None
        keys = keys_for("container", call.path)
        self.known_keys[keys["id"]] = (keys["secret"], keys["token"])
        return 200, json.dumps({"RoleArn": "arn:aws:iam::1:role/task", "AccessKeyId": keys["id"],
                                "SecretAccessKey": keys["secret"], "Token": keys["token"],
                                "Expiration": stamp(self._end())}), None

    def _imds_token(self, call):
        if not self.imds_has_v2 or "x-aws-ec2-metadata-token-ttl-seconds" not in call.headers:
            return 404, "", "text/plain"
        return 200, "imds-session-token==", "text/plain"

    def _imds_role(self, call):
        if self._lacks_imds_token(call):
            return 401, "", "text/plain"
        return (200, self.imds_role, "text/plain") if self.imds_role else (404, "", "text/plain")

    def _imds_keys(self, call):
        if self._lacks_imds_token(call):
            return 401, "", "text/plain"
        if call.path != ROLES + (self.imds_role or ""):
            return 404, "", "text/plain"
        keys = keys_for("imds", self.imds_role)
        self.known_keys[keys["id"]] = (keys["secret"], keys["token"])
        return 200, json.dumps({"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": keys["id"],
                                "SecretAccessKey": keys["secret"], "Token": keys["token"],
                                "Expiration": stamp(self.imds_expires or self._end())}), "text/plain"

    def _lacks_imds_token(self, call):
        token = call.headers.get("x-aws-ec2-metadata-token")
        return token != "imds-session-token==" and (self.imds_needs_v2 or token is not None)

    def _proxy(self, _):
        return 502, "a proxy was asked", "text/plain"

    # --- HTTP

    @staticmethod
    def kind_of(method, path):
        """Which service a request is for."""
        if path.startswith(("http://", "https://")) or method == "CONNECT":
            return "proxy"
        path = urlsplit(path).path
        if path == "/latest/api/token":
            return "imds_token"
        if path == ROLES:
            return "imds_role"
        if path.startswith(ROLES):
            return "imds_keys"
        return {"/federation/credentials": "sso", "/token": "oidc", "/v1/token": "signin", "/": "sts"}.get(path, "container")

    def _handler(self):
        fakes = self

        class Handler(BaseHTTPRequestHandler):
            """One connection."""
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):                          # pylint: disable=arguments-differ
                """Quiet."""

            def date_time_string(self, timestamp=None):
                """The fakes' clock."""
                return formatdate((timestamp or time.time()) + fakes.skew, usegmt=True)

            def answer(self):
                """Any method."""
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                kind = fakes.kind_of(self.command, self.path)
                status, text, content_type = fakes.answer(Call(kind, self.command, self.path, self.headers, body))
                data = text.encode() if isinstance(text, str) else text
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", content_type or "application/json")
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    self.close_connection = True    # the client didn't wait

            do_GET = do_PUT = do_POST = do_CONNECT = answer     # pylint: disable=invalid-name

        return Handler
