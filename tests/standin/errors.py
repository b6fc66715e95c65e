"""Errors as the service answers them: a kind, a status and a message, in one of several forms."""

import json

STATUS = {
    "AccessDeniedException": 403,
    "ConflictException": 409,
    "ExpiredTokenException": 403,
    "IncompleteSignatureException": 403,
    "InternalServerException": 500,
    "InvalidClientTokenId": 403,
    "InvalidSignatureException": 403,
    "MissingAuthenticationTokenException": 403,
    "ResourceNotFoundException": 404,
    "ServiceUnavailableException": 503,
    "SignatureDoesNotMatch": 403,
    "ThrottlingException": 429,
    "UnknownOperationException": 404,
    "UnrecognizedClientException": 403,
    "ValidationException": 400,
}
STYLES = ("header", "type", "code", "none")
COLLECTION = "http://internal.amazon.com/coral/com.amazonaws.route53globalresolver/"


class ApiError(Exception):
    """An error answer; `extra` are further members of its body."""

    def __init__(self, code, message, status=None, extra=None, headers=()):
        super().__init__(code)
        self.code = code
        self.message = message
        self.status = status or STATUS.get(code, 400)
        self.extra = extra or {}
        self.headers = list(headers)

    def render(self, style="header"):
        """Gives (status, headers, body); style says where the code stands: in the
        x-amzn-ErrorType header, in the body as __type or as code, or nowhere."""
        body = {"message": self.message, **self.extra}
        headers = list(self.headers)
        if style == "header":
            headers.append(("x-amzn-ErrorType", f"{self.code}:{COLLECTION}"))
        elif style == "type":
            body["__type"] = f"com.amazonaws.route53globalresolver#{self.code}"
        elif style == "code":
            body["code"] = self.code
        return self.status, headers, json.dumps(body).encode()


def code_for_status(status):
    """The error code that the service would send with this status."""
    names = {
        400: "ValidationException", 401: "UnrecognizedClientException",
        403: "AccessDeniedException", 404: "ResourceNotFoundException",
        409: "ConflictException", 429: "ThrottlingException", 503: "ServiceUnavailableException",
    }
    return names.get(status, "InternalServerException" if status >= 500 else "ValidationException")
