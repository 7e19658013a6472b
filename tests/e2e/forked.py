"""``engine …`` in processes of its own, forked from one that has everything loaded.

Hundreds of tests run the command; loading it anew took more time than all that it did then. How it starts
from nothing is seen by the tests of ``engine demo`` and ``engine sandbox``.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_LOADED = [
    "engine.cli.main",
    "engine.cli.export",
    "engine.cli.migrate",
    "engine.cli.plan",
    "engine.cli.report",
    "engine.cli.status",
    "engine.cli.verify",
    "engine.archive",
    "engine.mlflow",
    "engine.wandb",
    "sqlalchemy.dialects.sqlite",
    "tests.e2e.crashing",
    "tests.e2e.forked",
    "tests.e2e.hurry",
    "tests.e2e.world",
    "uvloop",
]

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(_LOADED)


def start_engine(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    *,
    out: Path,
    err: Path,
    plugins: Sequence[str] = (),
    around: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> ForkServerProcess:
    """Begin; the process leads a group of its own.

    Args:
        out, err: what it prints is appended there; they may be one file.
        plugins: directories with systems of others.
        around: in which it runs; a function of a module.
    """
    process = _CONTEXT.Process(
        target=_be_engine,
        args=(list(arguments), dict(environ), str(Path.cwd()), str(out), str(err), list(plugins), around),
    )
    process.start()
    return process


def ended(process: ForkServerProcess, timeout_s: float) -> int | None:
    """The exit status, negative if a signal ended it, as in ``subprocess``; None if it had to be killed."""
    process.join(timeout_s)
    status = process.exitcode
    if status is None:
        process.kill()
        process.join()
    process.close()
    return status


def _be_engine(
    arguments: list[str],
    environ: dict[str, str],
    directory: str,
    out: str,
    err: str,
    plugins: list[str],
    around: Callable[[], AbstractContextManager[object]],
) -> None:
    os.setsid()
    os.chdir(directory)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environ)
    sys.path[:0] = plugins
    sys.argv = ["engine", *arguments]
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    from engine.cli.main import main

    with around():
        main()
