"""Answers that say no, each in the shape of its class of endpoint: XML of S3, or JSON of W&B."""

from __future__ import annotations

import email.utils
import math
import secrets
import time
from dataclasses import dataclass
from http import HTTPStatus
from xml.sax.saxutils import escape

from aiohttp import web

from engine.sandbox.faults.requests import class_of

S3_ERRORS = {
    "SlowDown": (503, "Please reduce your request rate."),
    "ServiceUnavailable": (503, "Service is unable to handle request."),
    "InternalError": (500, "We encountered an internal error. Please try again."),
    "RequestTimeout": (
        400,
        "Your socket connection to the server was not read from or written to within the timeout period.",
    ),
    "BadDigest": (400, "The Content-MD5 you specified did not match what we received."),
    "AccessDenied": (403, "Access Denied"),
    "NoSuchKey": (404, "The specified key does not exist."),
    "OperationAborted": (
        409,
        "A conflicting conditional operation is currently in progress against this resource.",
    ),
}
"""Codes of S3 by which a rule can refuse: their status and sentence."""

_WORDS = {401: "invalid API key", 429: "rate limit exceeded", 409: "conflict"}
"""What W&B says, where it differs from the phrase of the status."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer with an error status.

    Attributes:
        code: of S3, or a status in digits; None is what a limit answers: ``SlowDown`` for objects, else 429.
        message: None for the usual one.
        retry_after_s: sent as ``Retry-After``; infinite leaves the time to whoever refuses, None sends none.
        as_date: send it as a date instead of seconds.
    """

    code: str | None = None
    message: str | None = None
    retry_after_s: float | None = None
    as_date: bool = False

    def response(self, request: web.Request, *, wait_s: float = 0.0) -> web.Response:
        """The answer; ``wait_s`` is what a limit knows of when it will have passed."""
        is_object = class_of(request.path) == "objects"
        code = self.code or ("SlowDown" if is_object else "429")
        status, message = S3_ERRORS[code] if code in S3_ERRORS else _by_status(code)
        message = self.message or message
        if is_object or code in S3_ERRORS:
            name = code if code in S3_ERRORS else HTTPStatus(status).phrase.title().replace(" ", "")
            answer = _xml(request, status, name, message)
        else:
            answer = web.json_response({"errors": [{"message": message}]}, status=status)
        if self.retry_after_s is not None:
            seconds = math.ceil(wait_s if math.isinf(self.retry_after_s) else self.retry_after_s)
            answer.headers["Retry-After"] = (
                email.utils.formatdate(math.ceil(time.time()) + seconds, usegmt=True)
                if self.as_date
                else str(seconds)
            )
        return answer


def _by_status(code: str) -> tuple[int, str]:
    status = HTTPStatus(int(code))
    return int(status), _WORDS.get(status, status.phrase)


def _xml(request: web.Request, status: int, code: str, message: str) -> web.Response:
    key = escape(request.match_info.get("key", request.path))
    request_id = secrets.token_hex(8).upper()
    return web.Response(
        status=status,
        text=f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>'
        f"<Message>{escape(message)}</Message><Resource>/{key}</Resource>"
        f"<RequestId>{request_id}</RequestId></Error>",
        content_type="application/xml",
        headers={"x-amz-request-id": request_id},
    )
