"""Running a transfer as a user does: in this process through the public API, or through the command line."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from engine import Engine, Options, Selection, open_destination, open_source
from engine.protocols import SystemOptions
from engine.transfer.options import Result
from tests.e2e.forked import ended, start_engine


@dataclass(frozen=True)
class Target:
    """A place in a W&B server; without a project, each experiment becomes one."""

    url: str
    api_key: str
    entity: str
    project: str = ""

    @property
    def uri(self) -> str:
        return f"wandb:{self.url}/{self.entity}/{self.project}".rstrip("/")


def migrate(
    source: str,
    target: Target,
    *,
    artifact_roots: dict[str, str] | None = None,
    include_deleted: bool = False,
    experiments: tuple[str, ...] = (),
    filter_by: str | None = None,
) -> Result:
    """Move everything; the result tells what failed and what changed shape."""

    async def run() -> Result:
        engine = Engine(
            open_source(f"mlflow:{source}", SystemOptions(artifact_roots=artifact_roots or {})),
            open_destination(target.uri, SystemOptions(api_key=target.api_key)),
            Options(
                selection=Selection(projects=experiments, filter=filter_by, include_deleted=include_deleted)
            ),
        )
        async with engine:
            return await engine.run()

    return anyio.run(run)


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """Of ``--json``."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def text(self) -> str:
        """All that was printed, with the line breaks of a narrow terminal taken out."""
        return " ".join((self.out + self.err).split())


def command(*arguments: str, environ: dict[str, str] | None = None, timeout_s: float = 100) -> Outcome:
    """``engine …`` in a process of its own, which remembers nothing unless it is told where."""
    with tempfile.TemporaryDirectory() as scratch:
        out, err = Path(scratch, "out"), Path(scratch, "err")
        process = start_engine(
            arguments,
            {
                **os.environ,
                "COLUMNS": "200",
                "TERM": "dumb",
                "ENGINE_STATE_DIR": str(Path(scratch, "state")),
                **(environ or {}),
            },
            out=out,
            err=err,
        )
        status = ended(process, timeout_s)
        told = Outcome(0 if status is None else status, out.read_text(), err.read_text())
    assert status is not None, f"it did not end:\n{told.text}"
    return told


def migrate_command(source: str, target: Target, *arguments: str, timeout_s: float = 100) -> Outcome:
    """``engine migrate mlflow:SOURCE wandb:TARGET …`` with the target's key in the environment."""
    return command(
        "migrate",
        f"mlflow:{source}",
        target.uri,
        *arguments,
        environ={"WANDB_API_KEY": target.api_key},
        timeout_s=timeout_s,
    )
