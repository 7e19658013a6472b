"""How an import runs: any number of transfers, from a coroutine or from a plain call."""

from __future__ import annotations

import importlib.util
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial, wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeAlias, TypeVar

from anyio.from_thread import start_blocking_portal

from engine.errors import ConfigError, Side
from engine.importers.results import ImportFailures, ImportResult, Transferred
from engine.protocols import Destination, Source
from engine.records import Json
from engine.transfer.engine import Engine
from engine.transfer.events import Event
from engine.transfer.options import Options
from engine.waiting import result_of

T = TypeVar("T")
P = ParamSpec("P")
Owner = TypeVar("Owner")

Observer: TypeAlias = Callable[[Event], object]

STATE_DIR = Path(".transfer-engine")
"""As of the commands, so that an import and ``engine migrate`` know what the other one did."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """One call of the engine."""

    source: Source
    destination: Destination
    options: Options


def defaults(options: Options | None, custom_api_kwargs: dict[str, Json] | None) -> Options:
    """The options that an importer begins with.

    Args:
        custom_api_kwargs: of ``wandb.Api``, as W&B's importers take them; only the timeout means something.

    Raises:
        ConfigError: there is something else in them.
    """
    options = options or Options(state_dir=STATE_DIR)
    given = dict(custom_api_kwargs or {})
    timeout = given.pop("timeout", None)
    if given:
        raise ConfigError(
            f"custom_api_kwargs cannot have {', '.join(map(repr, given))}",
            remedy="give timeout alone, and everything else as options=engine.Options(…)",
        )
    return options if timeout is None else replace(options, patience_s=float(timeout))


def with_workers(options: Options, *, parallel: bool, max_workers: int | None) -> Options:
    """The options with as many runs and artifacts at a time as were asked for."""
    if not parallel:
        max_workers = 1
    if max_workers is None:
        return options
    if max_workers < 1:
        raise ConfigError("max_workers has to be at least 1")
    return replace(options, open_runs=max_workers, history_workers=max_workers, artifact_workers=max_workers)


def server(base_url: str | None, path: str) -> str:
    """What of a ``wandb:`` URI follows the scheme; without an address, the default server."""
    return f"{base_url.rstrip('/')}/{path}" if base_url else path


def is_address(text: str) -> bool:
    """Whether a text can be the address of a server."""
    return text.startswith(("http://", "https://"))


def checked_url(base_url: str, side: Side) -> str:
    """An address as it was given.

    Raises:
        ConfigError: it is none. It is not shown, as it may be a key in the wrong place.
    """
    if not is_address(base_url):
        raise ConfigError(
            "the base URL is no address of a W&B server", side=side, remedy="write https://api.wandb.ai"
        )
    return base_url


async def run_all(
    transfers: Iterable[Transfer], *, on_event: Observer | None, raise_on_error: bool
) -> ImportResult:
    """Run one transfer after the other.

    Args:
        on_event: is told of everything that happens.
        raise_on_error: raise if an item failed; otherwise the result alone tells.

    Raises:
        ImportFailures: not everything arrived.
        EngineError: a transfer could not begin or not go on.
    """
    done = ImportResult()
    for transfer in transfers:
        options = transfer.options
        if (limit := options.selection.limit) is not None:
            # What was there already is no work.
            left = limit - (done.runs_found - done.runs_skipped)
            if left <= 0:
                break
            options = replace(options, selection=replace(options.selection, limit=left))
        engine = Engine(transfer.source, transfer.destination, options)
        done.transfers.append(
            Transferred(
                source=transfer.source.uri, destination=transfer.destination.uri, result=engine.result
            )
        )
        async with engine:
            if on_event is not None:
                async with aclosing(engine.events()) as events:
                    async for event in events:
                        on_event(event)
            await engine.run()
    if raise_on_error and not done.ok:
        raise ImportFailures(done)
    return done


def blocking(call: Callable[[], Awaitable[T]]) -> T:
    """Run ``call()`` to its end in a thread of its own, with the caller's context variables.

    So it works where an event loop is running already, as in a notebook. Ctrl-C cancels it, waits until it
    let go of everything, and is raised.
    """
    uvloop = importlib.util.find_spec("uvloop") is not None
    with start_blocking_portal("asyncio", backend_options={"use_uvloop": uvloop}) as portal:
        return result_of(portal.start_task_soon(call))


def plain(method: Callable[Concatenate[Owner, P], Awaitable[T]]) -> Callable[Concatenate[Owner, P], T]:
    """The twin of a coroutine method that is called without ``await``; see ``blocking``."""

    @wraps(method)
    def call(self: Owner, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return blocking(partial(method, self, *args, **kwargs))

    call.__name__ = method.__name__.removesuffix("_async")
    call.__qualname__ = method.__qualname__.removesuffix("_async")
    return call
