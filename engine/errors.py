"""Everything that can go wrong, as one small tree.

    EngineError
    ├── ConfigError          the request itself is wrong; nothing was started
    ├── AuthError            a side refused the credentials (HTTP 401/403)
    ├── NotFound             an object is not there (any more)
    ├── Conflict             an object exists with other content, or an id is burnt
    ├── Unsupported          a side lacks a feature or speaks an unknown version
    ├── IntegrityError       bytes, digests or counts do not agree
    ├── Outage               a side is gone for longer than is worth waiting
    ├── Transient            may succeed if tried again
    │   └── RateLimited      the side asked for less traffic
    └── CommError            a side answered with a permanent error

Every error says which side it happened on, to which object, why, and what to do next.
``retryable`` is an attribute of the class, so that callers never need a ladder of ``isinstance``.

    try:
        await engine.run()
    except engine.AuthError as error:
        print(error.side, error.remedy)
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Side(StrEnum):
    """Where something happened."""

    SOURCE = "source"
    DESTINATION = "destination"
    LOCAL = "local"


class EngineError(Exception):
    """Base of all errors that this package raises on purpose.

    Args:
        message: what happened, in one sentence, free of secrets.
        side: the side that it happened on.
        subject: the object concerned, for example ``run 4f1c…`` or a URL without its query.
        remedy: what the user can do about it.
        status: the HTTP status, if there was one.
        exc: the underlying exception; ``wandb`` users know it as ``CommError.exc``.
    """

    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        side: Side = Side.LOCAL,
        subject: str | None = None,
        remedy: str | None = None,
        status: int | None = None,
        exc: BaseException | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.side = side
        self.subject = subject
        self.remedy = remedy
        self.status = status
        self.exc = exc

    def __str__(self) -> str:
        where = "" if self.side is Side.LOCAL else f"{self.side}: "
        what = f" [{self.subject}]" if self.subject else ""
        then = f" ({self.remedy})" if self.remedy else ""
        return f"{where}{self.message}{what}{then}"

    @property
    def kind(self) -> str:
        """The stable name of this kind of error in events, ledgers and reports."""
        return type(self).__name__


class ConfigError(EngineError):
    """The request is wrong: a bad URI, an unknown experiment, options that contradict."""


class AuthError(EngineError):
    """A side refused the credentials."""


class NotFound(EngineError):
    """The object does not exist."""


class Conflict(EngineError):
    """The object exists with other content, or its id was used and deleted."""


class Unsupported(EngineError):
    """The side lacks a feature that is needed, or has a version that is not known."""


class IntegrityError(EngineError):
    """Length, digest or count of what was moved does not agree with what was announced."""


class Outage(EngineError):
    """A side that had answered before is gone, and its patience is used up; nothing else can succeed."""


class Transient(EngineError):
    """The attempt failed in a way that may pass: a reset, a timeout, a 5xx answer.

    Attributes:
        retry_after_s: how long the server asked to wait.
        counts: whether it uses up an attempt; throttling and outages don't.
    """

    retryable: ClassVar[bool] = True

    def __init__(self, message: str, *, retry_after_s: float | None = None, **where: object) -> None:
        super().__init__(message, **where)  # type: ignore[arg-type]
        self.retry_after_s = retry_after_s
        self.counts = not isinstance(self, RateLimited)


class RateLimited(Transient):
    """The side asked for less traffic (429, ``SlowDown``); never counted as a failed attempt."""


class CommError(EngineError):
    """The side answered, and the answer is a permanent refusal or makes no sense."""
