"""A run without ``await``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.records import ConsoleLine, Json
from engine.sync.loop import Loop
from engine.sync.things import Artifact, File, Sweep
from engine.wandb.api import run as asynchronous
from engine.wandb.api.fields import RunFields
from engine.wandb.api.sampling import Row
from engine.wandb.api.table import HistoryTable
from engine.wandb.api.update import Change


class Summary(dict[str, Any]):
    """Final values, as plain JSON. ``update`` writes what was changed, as with the SDK."""

    def __init__(self, values: Mapping[str, Json], run: Run) -> None:
        super().__init__(values)
        self._run = run

    def update(self, values: Mapping[str, Json] | None = None) -> None:  # type: ignore[override]
        """Set these, and write all changes of the summary."""
        super().update(values or {})
        self._run.update_summary()

    @property
    def _json_dict(self) -> dict[str, Json]:
        """The guide tells people to read this."""
        return dict(self)


class Run(RunFields):
    """A run; see ``engine.wandb.api.Run``."""

    def __init__(self, loop: Loop, run: asynchronous.Run) -> None:
        self._loop = loop
        self._run = run
        super().__init__(run.node, run.namespace, run.base_url)

    @cached_property
    def summary(self) -> Summary:
        """Final values."""
        return Summary(self.summary_metrics, self)

    def load(self, force: bool = True) -> None:  # noqa: ARG002 - there is no other way here
        """Ask for it again; changes that were not written are gone."""
        self._loop.run(self._run.load())
        self._take(self._run.node)

    # --- history

    def history(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        pandas: bool = True,
        stream: str = "default",
    ) -> Any:
        """A sample of the history: a frame whose ``attrs`` say so, or else a ``Sample`` of dicts."""
        found = self._loop.run(self._run.sample(samples, keys, x_axis, stream=stream))
        return found.to_pandas() if pandas else found

    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,  # noqa: ARG002 - pages go by the size of rows
        min_step: int = 0,
        max_step: int | None = None,
        use_cache: bool = True,  # noqa: ARG002 - there is none
        *,
        require_all: bool = False,
    ) -> Iterator[Row]:
        """Every row of the history; with ``keys`` those that have any, or all with ``require_all``."""
        chunks = self._run.scan_chunks(keys, require_all=require_all, min_step=min_step, max_step=max_step)
        for rows in self._loop.iterate(chunks):
            yield from rows

    def history_table(self, keys: Sequence[str] | None = None, *, require_all: bool = False) -> HistoryTable:
        """The whole history as an Arrow table."""
        return self._loop.run(self._run.history_table(keys, require_all=require_all))

    def scan_system_metrics(self) -> Iterator[Row]:
        """Every row of the system metrics that the server gives."""
        return self._loop.iterate(self._run.scan_system_metrics())

    def history_keys(self) -> dict[str, Json]:
        """What the server knows of the keys of the history."""
        return self._loop.run(self._run.history_keys())

    @property
    def system_metrics(self) -> dict[str, Json]:
        """The latest values of the system metrics."""
        return self._loop.run(self._run.system_metrics.ask())

    @property
    def lastHistoryStep(self) -> int:  # noqa: N802 - the SDK's spelling
        """The highest step, -1 if nothing was logged."""
        return self._loop.run(self._run.last_history_step())

    # --- files, artifacts, console

    def file(self, name: str) -> File:
        """A file by its name; there is none: ``NotFound``."""
        return File(self._loop, self._loop.run(self._run.find_file(name)))

    def files(
        self, names: Sequence[str] | None = None, pattern: str | None = None, per_page: int = 50
    ) -> Iterator[File]:
        """The files that were uploaded with it."""
        found = self._run.files(names, pattern=pattern, per_page=per_page)
        return (File(self._loop, file) for file in self._loop.iterate(found))

    def upload_file(self, path: str | Path, root: str | Path = ".") -> File:
        """Upload a file under its path below ``root``."""
        return File(self._loop, self._loop.run(self._run.upload_file(path, root)))

    @property
    def metadata(self) -> dict[str, Json] | None:
        """The environment it ran in; None if it has none."""
        return self._loop.run(self._run.metadata.ask())

    @property
    def sweep(self) -> Sweep | None:
        """The sweep that started it; None if none did."""
        found = self._loop.run(self._run.sweep.ask())
        return None if found is None else Sweep(self._loop, found)

    def command(self) -> list[str] | None:
        """The command line that started it; None if that is not known."""
        return self._loop.run(self._run.command())

    def console_logs(
        self,
        per_page: int = 1000,  # noqa: ARG002 - as many as the server gives at once
        last: int | None = None,
    ) -> Iterator[ConsoleLine]:
        """What it wrote to its console, or the ``last`` lines of it."""
        return self._loop.iterate(self._run.console_logs(last))

    def logged_artifacts(self, per_page: int = 100) -> Iterator[Artifact]:
        """The versions that it made."""
        found = self._loop.iterate(self._run.logged_artifacts(per_page))
        return (Artifact(self._loop, artifact) for artifact in found)

    def used_artifacts(self, per_page: int = 100) -> Iterator[Artifact]:
        """The versions that it read."""
        found = self._loop.iterate(self._run.used_artifacts(per_page))
        return (Artifact(self._loop, artifact) for artifact in found)

    # --- changing it

    def update(self, *, overwrite: bool = False, dry_run: bool = False, **values: Any) -> tuple[Change, ...]:
        """Write what was changed of this object; see ``engine.wandb.api.Run.update``."""
        twin = self._run
        twin.config, twin.summary = self.config, self.summary
        twin.name, twin.notes, twin.tags = self.name, self.notes, self.tags
        twin.group, twin.job_type = self.group, self.job_type
        changes = self._loop.run(twin.update(overwrite=overwrite, dry_run=dry_run, **values))
        if not dry_run:
            self._take(twin.node)
        return changes

    save = update

    def update_summary(self) -> None:
        """Write what was changed of the summary, and nothing else yet."""
        twin = self._run
        twin.summary = self.summary
        self._loop.run(twin.update_summary())
        self.node = twin.node
