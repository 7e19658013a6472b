"""What an answer means: its error class, the server's own words, and how long it asks to wait."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import orjson

from engine.errors import AuthError, CommError, Conflict, EngineError, NotFound, RateLimited, Transient
from engine.records import Json

_DAMAGED = (b"RequestTimeout", b"BadDigest", b"IncompleteBody")
"""Codes by which object stores say, with status 400, that the bytes did not arrive as they were sent."""

_THROTTLE_WORDS = (
    b"SlowDown",
    b"reduce your request rate",
    b"ateLimitExceeded",  # GCS: rateLimitExceeded, userRateLimitExceeded
    b"TooManyRequests",
    b"RequestLimitExceeded",
    b"REQUEST_LIMIT_EXCEEDED",  # Databricks
    b"Throttl",  # AWS: Throttling, ThrottlingException, ThrottledException
    b"ServerBusy",  # Azure
)
"""What services say, also with statuses that have other meanings, when they are asked too much."""


_FULL = "a limit of the account's plan or storage is used up; make room or raise it, then transfer again"


@dataclass(frozen=True, slots=True)
class Response:
    """An answer that was read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Json:
        """The body as JSON, also where a server writes bare ``NaN`` or ``Infinity``.

        Raises:
            CommError: it is not JSON, for example the page of a proxy.
        """
        return parse_json(self.body)


Classifier: TypeAlias = Callable[[Response], "EngineError | None"]
"""Names the error that an answer means; None leaves it to the status."""


def parse_json(body: bytes) -> Json:
    """Parse strict JSON fast, and JSON with bare ``NaN``/``Infinity`` all the same.

    Raises:
        CommError: it is neither.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        import json

        try:
            return json.loads(body)
        except ValueError as error:
            raise CommError(
                f"expected JSON, got {body[:80]!r}",
                remedy="is a proxy or login page in the way?",
                exc=error,
            ) from error


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by ``Retry-After``, which holds seconds or a date."""
    value = headers.get("Retry-After")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        try:
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
        except ValueError:
            return None


def error_of(response: Response) -> EngineError | None:
    """What a status and body mean, None for success; sides and subjects are filled in by the client."""
    status, body = response.status, response.body
    if status < 400:
        return None
    said = message_of(body)
    message = f"HTTP {status}" + (f": {said}" if said else "")
    throttled = status in (420, 429) or (
        status in (400, 403, 408, 503) and any(word in body for word in _THROTTLE_WORDS)
    )
    if throttled:
        return RateLimited(message, retry_after_s=retry_after_s(response.headers), status=status)
    if status in (408, 425) or (status == 400 and any(word in body for word in _DAMAGED)):
        return Transient(message, status=status)
    if status >= 500 and status != 501:
        return Transient(message, status=status, retry_after_s=retry_after_s(response.headers))
    if status in (401, 403):
        return AuthError(message, status=status)
    if status in (404, 410):
        return NotFound(message, status=status)
    if status in (409, 412):
        return Conflict(message, status=status)
    if status == 402:
        return CommError(message, status=status, remedy=_FULL)
    return CommError(message, status=status)


def message_of(body: bytes) -> str:
    """The server's own words, from any of the error shapes of MLflow, W&B and S3."""
    text = body[:2000].decode("utf-8", "replace").strip()
    if text.startswith("{"):
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError:
            return text[:300]
        if errors := parsed.get("errors"):
            return "; ".join(str(e.get("message", e)) if isinstance(e, dict) else str(e) for e in errors)
        error = parsed.get("error", parsed.get("message"))
        if isinstance(error, dict):
            error = error.get("message")
        code = parsed.get("error_code")
        return f"{code}: {parsed.get('message')}" if code else str(error or text[:300])
    if text.startswith("<"):
        for tag in ("Message", "title", "Code"):
            start, end = text.find(f"<{tag}>"), text.find(f"</{tag}>")
            if 0 <= start < end:
                return text[start + len(tag) + 2 : end]
    return text[:300]
