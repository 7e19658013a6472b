"""Errors of the public API: each is of the kind that it is elsewhere in this package, and a ``CommError``.

So ``except engine.CommError`` catches all that a server may answer, as it does with the SDK, while
``except engine.NotFound`` still tells them apart. A ``ConfigError`` is none: what was asked for is wrong.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import aclosing, contextmanager
from typing import Any, ParamSpec, TypeVar

from engine.errors import (
    AuthError,
    CommError,
    ConfigError,
    Conflict,
    EngineError,
    IntegrityError,
    NotFound,
    Outage,
    RateLimited,
    Transient,
    Unsupported,
)

P = ParamSpec("P")
T = TypeVar("T")


class _Told(CommError):
    """Mixed into every kind of error; its ``kind`` stays what it was."""

    @property
    def kind(self) -> str:
        return type(self).__mro__[1].__name__


# What usually helps is said in other words than to somebody who transfers: there is no command to run again.


class AnsweredError(CommError):
    """The server answered, and the answer is a permanent refusal or makes no sense."""

    usual_remedy = None

    @property
    def kind(self) -> str:
        return CommError.__name__


class MissingError(NotFound, _Told):
    """The object is not there."""

    usual_remedy = "is it spelled right, was it deleted, or may this key not see it?"


class RefusedError(AuthError, _Told):
    """The key may not do that."""


class ConflictError(Conflict, _Told):
    """Somebody else changed it, or it is there with other content."""


class ThrottledError(RateLimited, _Told):
    """The server asked for less traffic."""

    usual_remedy = "ask again later"


class PassingError(Transient, _Told):
    """It may succeed if tried again."""

    usual_remedy = "ask again later"


class LackingError(Unsupported, _Told):
    """The server has no such feature."""


class DamagedError(IntegrityError, _Told):
    """Bytes do not agree with their digest or length."""

    usual_remedy = "ask again; if it stays so, something on the way alters bytes"


class GoneError(Outage, _Told):
    """The server is away for longer than is worth waiting."""


_KINDS: dict[type[EngineError], type[CommError]] = {
    CommError: AnsweredError,
    NotFound: MissingError,
    AuthError: RefusedError,
    Conflict: ConflictError,
    RateLimited: ThrottledError,
    Transient: PassingError,
    Unsupported: LackingError,
    IntegrityError: DamagedError,
    Outage: GoneError,
}


def as_comm_error(error: EngineError) -> CommError:
    """The same error as one of this module; its ``exc`` is what it came from, or else the error itself."""
    if isinstance(error, _Told | AnsweredError):
        return error
    kind = next(known for known in _KINDS if isinstance(error, known))
    told = _KINDS[kind].__new__(_KINDS[kind], *error.args)
    told.__dict__.update(vars(error))
    told.exc = error.exc or error
    return told


@contextmanager
def comm_errors() -> Generator[None]:
    """Within it, what a server answers is raised as a ``CommError``."""
    try:
        yield
    except (ConfigError, _Told, AnsweredError):
        raise
    except EngineError as error:
        raise as_comm_error(error) from error


def raising_comm_errors(
    work: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    """Of a coroutine function of the public API."""

    @functools.wraps(work)
    async def told(*args: P.args, **kwargs: P.kwargs) -> T:
        with comm_errors():
            return await work(*args, **kwargs)

    return told


def streaming_comm_errors(
    work: Callable[P, AsyncGenerator[T]],
) -> Callable[P, AsyncGenerator[T]]:
    """Of an asynchronous generator of the public API."""

    @functools.wraps(work)
    async def told(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T]:
        with comm_errors():
            async with aclosing(work(*args, **kwargs)) as items:
                async for item in items:
                    yield item

    return told
