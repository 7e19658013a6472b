"""Everything that can go wrong, as one small tree.

    EngineError
    ├── ConfigError          the request itself is wrong; nothing was started
    ├── PreflightError       several things stand in the way; nothing was started
    ├── AuthError            a side refused the credentials (HTTP 401/403)
    ├── NotFound             an object is not there (any more)
    ├── Conflict             an object exists with other content, or an id is burnt
    ├── NotYet               it depends on something that has not arrived, and may
    ├── NeedsRecreation      a collection has to be deleted first, as the user allows
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

from collections.abc import Sequence
from dataclasses import dataclass
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

    Attributes:
        attempts: how often it was tried before this error was final.
    """

    retryable: ClassVar[bool] = False
    usual_remedy: ClassVar[str | None] = None
    """What helps with most errors of a class, where nothing better is known."""

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
        self.attempts = 1

    def __str__(self) -> str:
        tried = f", {self.attempts} times" if self.attempts > 1 else ""
        return _sentence(self.side, self.message + tried, self.subject, self.advice)

    @property
    def advice(self) -> str | None:
        """What to do next: the remedy of this error, else the usual one of its class."""
        return self.usual_remedy if self.remedy is None else self.remedy

    @property
    def kind(self) -> str:
        """The stable name of this kind of error in events, ledgers and reports."""
        return type(self).__name__


def _sentence(side: Side, message: str, subject: str | None, remedy: str | None) -> str:
    where = "" if side is Side.LOCAL else f"{side}: "
    what = f" [{subject}]" if subject else ""
    then = f" ({remedy})" if remedy else ""
    return f"{where}{message}{what}{then}"


class ConfigError(EngineError):
    """The request is wrong: a bad URI, an unknown experiment, options that contradict."""


class AuthError(EngineError):
    """A side refused the credentials."""

    usual_remedy: ClassVar[str | None] = "is the key of this side right, and may it do this?"


class NotFound(EngineError):
    """The object does not exist."""

    usual_remedy: ClassVar[str | None] = "was it deleted meanwhile, or may this key not see it?"


class Conflict(EngineError):
    """The object exists with other content, or its id was used and deleted."""

    usual_remedy: ClassVar[str | None] = "move or rename what is there, or transfer to another project"


class NotYet(EngineError):
    """It depends on something that is not at the destination and may still come."""


class NeedsRecreation(EngineError):
    """What is there of a collection has to be deleted first, which the user allowed."""


class Unsupported(EngineError):
    """The side lacks a feature that is needed, or has a version that is not known."""

    usual_remedy: ClassVar[str | None] = "a newer version of that side may know it"


class IntegrityError(EngineError):
    """Length, digest or count of what was moved does not agree with what was announced."""

    usual_remedy: ClassVar[str | None] = (
        "run the same command again; if it stays so, something on the way alters bytes"
    )


class Outage(EngineError):
    """A side that had answered before is gone, and its patience is used up; nothing else can succeed."""


class Transient(EngineError):
    """The attempt failed in a way that may pass: a reset, a timeout, a 5xx answer.

    Attributes:
        retry_after_s: how long the server asked to wait.
        counts: whether it uses up an attempt; throttling and outages don't.
    """

    retryable: ClassVar[bool] = True
    usual_remedy: ClassVar[str | None] = "run the same command again; what arrived stays"

    def __init__(self, message: str, *, retry_after_s: float | None = None, **where: object) -> None:
        super().__init__(message, **where)  # type: ignore[arg-type]
        self.retry_after_s = retry_after_s
        self.counts = not isinstance(self, RateLimited)


class RateLimited(Transient):
    """The side asked for less traffic (429, ``SlowDown``); never counted as a failed attempt."""

    usual_remedy: ClassVar[str | None] = "run the same command again later, or with --max-rps"


class CommError(EngineError):
    """The side answered, and the answer is a permanent refusal or makes no sense."""

    usual_remedy: ClassVar[str | None] = (
        "the log of that server may tell more; the rest of the transfer is not concerned"
    )


class Severity(StrEnum):
    """Whether a problem stands in the way."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that was found before anything was written.

    Attributes:
        kind: a stable word: the kind of the error, or what is warned of, for example ``clock_skew``.
    """

    severity: Severity = Severity.WARNING
    kind: str
    message: str
    side: Side = Side.LOCAL
    subject: str | None = None
    remedy: str | None = None

    @classmethod
    def of(cls, error: EngineError) -> Problem:
        return cls(
            severity=Severity.ERROR,
            kind=error.kind,
            message=error.message,
            side=error.side,
            subject=error.subject,
            remedy=error.advice,
        )

    def __str__(self) -> str:
        return _sentence(self.side, self.message, self.subject, self.remedy)


class PreflightError(EngineError):
    """Several things stand in the way, and nothing was started.

    Attributes:
        errors: each of them as it would have been raised alone.
        problems: the same, and the warnings.
    """

    def __init__(self, errors: Sequence[EngineError], warnings: Sequence[Problem] = ()) -> None:
        told = "".join(f"\n  {number}. {error}" for number, error in enumerate(errors, 1))
        super().__init__(f"{len(errors)} things stand in the way, and nothing was started:{told}")
        self.errors = tuple(errors)
        self.problems = (*map(Problem.of, errors), *warnings)
