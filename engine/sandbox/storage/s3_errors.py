"""The errors of an object store, as S3 words them: a code, a message, and XML around both."""

from __future__ import annotations

from xml.sax.saxutils import escape

from aiohttp import web

_STATUS = {
    "AccessDenied": 403,
    "BadDigest": 400,
    "EntityTooSmall": 400,
    "IncompleteBody": 400,
    "InvalidArgument": 400,
    "InvalidDigest": 400,
    "InvalidPart": 400,
    "InvalidPartOrder": 400,
    "InvalidRange": 416,
    "MissingContentLength": 411,
    "NoSuchKey": 404,
    "NoSuchUpload": 404,
    "PreconditionFailed": 412,
    "SignatureDoesNotMatch": 403,
    "SlowDown": 503,
}


class S3Error(Exception):
    """A refusal by the object store.

    Args:
        code: one of S3's error codes, which also decides the HTTP status.
        message: S3's sentence for it.
        details: further elements of the XML body, by name.
    """

    def __init__(self, code: str, message: str, **details: str | int) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.details = details

    @property
    def status(self) -> int:
        """The HTTP status that goes with the code."""
        return _STATUS[self.code]

    def response(self, resource: str, request_id: str) -> web.Response:
        """The answer that S3 would send for this error."""
        elements = {
            "Code": self.code,
            "Message": self.message,
            **self.details,
            "Resource": resource,
            "RequestId": request_id,
        }
        inner = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in elements.items())
        return web.Response(
            status=self.status,
            text=f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>',
            content_type="application/xml",
            headers={"x-amz-request-id": request_id},
        )
