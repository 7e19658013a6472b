"""One run: what the list tells of it, and all that can be asked for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from engine.errors import ConfigError, NotFound
from engine.records import ConsoleLine, Json, Namespace
from engine.wandb.api import documents, sampling
from engine.wandb.api.artifacts import Artifact, artifacts_of_run
from engine.wandb.api.asking import Asked
from engine.wandb.api.environment import command_of, read_metadata
from engine.wandb.api.errors import raising_comm_errors, streaming_comm_errors
from engine.wandb.api.fields import RunFields, unwrapped
from engine.wandb.api.files import PER_PAGE, File, FileRequest, find_file, list_files, upload_file
from engine.wandb.api.sampling import Row, Sample, checked_keys
from engine.wandb.api.session import Session
from engine.wandb.api.table import HistoryTable
from engine.wandb.api.update import Change, Merge, changed, changed_config, text
from engine.wandb.reading.logs import read_console, read_system_metrics
from engine.wandb.reading.pages import address, of_run
from engine.wandb.reading.values import parse_object

if TYPE_CHECKING:
    import pandas as pd

OUTPUT = "output.log"

_TEXTS = {"name": "displayName", "notes": "notes", "group": "group", "job_type": "jobType"}
"""Attributes that are texts, and how the server reads them out; two are written under other names."""
_WRITTEN = {"group": "groupName"}


async def find_run(session: Session, namespace: Namespace, run_id: str) -> Mapping[str, Json]:
    """What the server says of a run.

    Raises:
        NotFound: there is none of this id.
    """
    subject = f"run {namespace}/{run_id}"
    variables = {"entity": namespace.entity, "project": namespace.project, "run": run_id}
    return of_run(await session.client.graphql(documents.RUN, variables, subject), subject, session.client)


class Run(RunFields):
    """A run; made by ``Api.run`` and ``Api.runs``. Attributes are as they were then, methods ask."""

    def __init__(self, session: Session, node: Mapping[str, Json], namespace: Namespace) -> None:
        super().__init__(node, namespace, session.client.base_url)
        self._session = session

    @raising_comm_errors
    async def load(self) -> None:
        """Ask for it again; changes that were not written are gone."""
        self._take(await find_run(self._session, self.namespace, self.id))

    # --- history

    @overload
    async def history(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        *,
        pandas: Literal[True] = True,
        stream: str = "default",
    ) -> pd.DataFrame: ...

    @overload
    async def history(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        *,
        pandas: Literal[False],
        stream: str = "default",
    ) -> Sample: ...

    async def history(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        *,
        pandas: bool = True,
        stream: str = "default",
    ) -> pd.DataFrame | Sample:
        """A sample of the history, chosen by the server; ``attrs`` of the frame say that it is one.

        Args:
            samples: rows, about.
            keys: only these, of rows that have all of them; None for whole rows.
            x_axis: a key that comes with ``keys``.
            pandas: False for a ``Sample``, which is a list of dicts.
            stream: ``events`` or ``system`` for the system metrics.

        Raises:
            ConfigError: what is asked for makes no sense.
        """
        found = await self.sample(samples, keys, x_axis, stream=stream)
        return found.to_pandas() if pandas else found

    @raising_comm_errors
    async def sample(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        *,
        stream: str = "default",
    ) -> Sample:
        """As ``history``, as rows."""
        return await sampling.sample(self._session, self.record, samples, keys, x_axis, stream)

    async def scan_history(
        self,
        keys: Sequence[str] | None = None,
        *,
        require_all: bool = False,
        min_step: int = 0,
        max_step: int | None = None,
    ) -> AsyncGenerator[Row]:
        """Every row of the history, in the order of steps, as logged.

        Args:
            keys: only these and the step, of rows that have any of them.
            require_all: only of rows that have all of them, as the SDK has it.
            max_step: the first step that is not wanted any more.
        """
        chunks = self.scan_chunks(keys, require_all=require_all, min_step=min_step, max_step=max_step)
        async with aclosing(chunks):
            async for rows in chunks:
                for row in rows:
                    yield row

    @streaming_comm_errors
    async def scan_chunks(
        self,
        keys: Sequence[str] | None = None,
        *,
        require_all: bool = False,
        min_step: int = 0,
        max_step: int | None = None,
    ) -> AsyncGenerator[Sequence[Row]]:
        """As ``scan_history``, some thousand rows at a time."""
        from engine.wandb.api.scanning import scan  # with Arrow, which takes long to load

        chunks = scan(
            self._session,
            self.record,
            checked_keys(keys),
            require_all=require_all,
            min_step=min_step,
            max_step=max_step,
        )
        async with aclosing(chunks):
            async for rows in chunks:
                yield rows

    @raising_comm_errors
    async def history_table(
        self, keys: Sequence[str] | None = None, *, require_all: bool = False
    ) -> HistoryTable:
        """The whole history as an Arrow table; see ``scan_history``."""
        from engine.wandb.api.collecting import TableBuilder
        from engine.wandb.api.scanning import scan_parts

        builder = TableBuilder()
        parts = scan_parts(self._session, self.record, checked_keys(keys), require_all=require_all)
        async with aclosing(parts):
            async for part in parts:
                builder.add(part)
        return builder.table()

    @streaming_comm_errors
    async def scan_system_metrics(self) -> AsyncGenerator[Row]:
        """The rows of system metrics, as many as the server gives at once: at least 50,000."""
        chunks = read_system_metrics(self._session.client, self._session.context, self.record)
        async with aclosing(chunks):
            async for chunk in chunks:
                for row in chunk.rows:
                    yield row

    @property
    def system_metrics(self) -> Asked[dict[str, Json]]:
        """``await`` it: the latest values of the system metrics."""
        return Asked("system_metrics", self._latest_system_metrics)

    @raising_comm_errors
    async def _latest_system_metrics(self) -> dict[str, Json]:
        return parse_object((await self._facts()).get("systemMetrics"))

    @raising_comm_errors
    async def history_keys(self) -> dict[str, Json]:
        """What the server knows of the keys of the history, by key: types and counts."""
        return dict(((await self._facts()).get("historyKeys") or {}).get("keys") or {})

    @raising_comm_errors
    async def last_history_step(self) -> int:
        """The highest step, -1 if nothing was logged."""
        return int(((await self._facts()).get("historyKeys") or {}).get("lastStep", -1))

    async def _facts(self) -> Mapping[str, Json]:
        subject = f"run {self.id}"
        data = await self._session.client.graphql(documents.HISTORY_KEYS, address(self.record), subject)
        return of_run(data, subject, self._session.client)

    # --- files

    def file(self, name: str) -> FileRequest:
        """A file by its name: ``await`` it, or ``await`` its ``download()``; there is none: ``NotFound``."""
        return FileRequest(self._session, self.record, name)

    @raising_comm_errors
    async def find_file(self, name: str) -> File:
        """A file by its name.

        Raises:
            NotFound: there is none.
        """
        return await find_file(self._session, self.record, name)

    @streaming_comm_errors
    async def files(
        self,
        names: Sequence[str] | None = None,
        *,
        pattern: str | None = None,
        per_page: int = PER_PAGE,
    ) -> AsyncGenerator[File]:
        """The files that were uploaded with it.

        Args:
            pattern: SQL ``LIKE``, for example ``%.json``.

        Raises:
            ConfigError: both names and a pattern are given.
        """
        listed = list_files(self._session, self.record, names, pattern, per_page)
        async with aclosing(listed):
            async for file in listed:
                yield file

    @raising_comm_errors
    async def upload_file(self, path: str | Path, root: str | Path = ".") -> File:
        """Upload a file under its path below ``root``, also to a run that is over; read back afterwards."""
        return await upload_file(self._session, self.record, Path(path), Path(root))

    @property
    def metadata(self) -> Asked[dict[str, Json] | None]:
        """``await`` it: the environment it ran in (``wandb-metadata.json``); None if it has none."""
        return Asked("metadata", partial(read_metadata, self._session, self.record))

    async def command(self) -> list[str] | None:
        """The command line that started it; None if that is not known, as of a notebook."""
        return command_of(await self.metadata)

    @streaming_comm_errors
    async def console_logs(self) -> AsyncGenerator[ConsoleLine]:
        """What it wrote to its console, line by line; of older servers from ``output.log``, without times."""
        none = True
        parts = read_console(self._session.client, self._session.context, self.record)
        async with aclosing(parts):
            async for part in parts:
                none = False
                for line in part.lines:
                    yield line
        if none:
            try:
                content = await (await find_file(self._session, self.record, OUTPUT)).read()
            except NotFound:
                return
            for line_text in content.decode("utf-8", "replace").splitlines():
                yield ConsoleLine(text=line_text)

    # --- artifacts

    def logged_artifacts(self, per_page: int = 100) -> AsyncGenerator[Artifact]:
        """The versions that it made; also those whose project is gone, marked ``is_orphaned``."""
        return artifacts_of_run(self._session, self.record, documents.LOGGED_ARTIFACTS, per_page)

    def used_artifacts(self, per_page: int = 100) -> AsyncGenerator[Artifact]:
        """The versions that it read."""
        return artifacts_of_run(self._session, self.record, documents.USED_ARTIFACTS, per_page)

    # --- changing it

    @raising_comm_errors
    async def update(
        self,
        *,
        config: Mapping[str, Json] | None = None,
        summary: Mapping[str, Json] | None = None,
        tags: Sequence[str] | None = None,
        notes: str | None = None,
        name: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        overwrite: bool = False,
        dry_run: bool = False,
    ) -> tuple[Change, ...]:
        """Write what was changed of this object and what is given here; all else stays as the server has it.

        Args:
            config: values to set; others stay. To remove one: ``del run.config[key]``, then update.
            summary: likewise.
            tags: all tags that it shall have.
            overwrite: also what somebody else has changed since this object was made.
            dry_run: write nothing, tell what would change.

        Returns:
            What was changed.

        Raises:
            Conflict: somebody else has changed the same; nothing was written.
            ConfigError: a value cannot be written as JSON.
        """
        wanted = {
            "name": self.name if name is None else name,
            "notes": self.notes if notes is None else notes,
            "group": self.group if group is None else group,
            "job_type": self.job_type if job_type is None else job_type,
        }
        wanted_tags = list(self.tags if tags is None else _checked_tags(tags))
        current = await find_run(self._session, self.namespace, self.id)
        base = current if overwrite else self.node
        merge = Merge()
        variables: dict[str, Json] = {}
        for attribute, field in _TEXTS.items():
            if merge.value(attribute, "", base.get(field), wanted[attribute], current.get(field)):
                # An empty text clears, null leaves as it is.
                variables[_WRITTEN.get(attribute, field)] = wanted[attribute] or ""
        if merge.value(
            "tags", "", list(base.get("tags") or ()), wanted_tags, list(current.get("tags") or ())
        ):
            variables["tags"] = wanted_tags
        stored = parse_object(current["config"])
        edits = merge.mapping(
            "config",
            unwrapped(parse_object(base["config"])),
            {**self.config, **(config or {})},
            unwrapped(stored),
        )
        if edits:
            variables["config"] = text(changed_config(stored, edits))
        stored = parse_object(current["summaryMetrics"])
        edits = merge.mapping(
            "summary",
            parse_object(base["summaryMetrics"]),
            {**self.summary, **(summary or {})},
            stored,
        )
        if edits:
            variables["summaryMetrics"] = text(changed(stored, edits))
        merge.check(f"run {self.id}")
        if dry_run:
            return tuple(merge.changes)
        if variables:
            data = await self._session.client.graphql(
                documents.UPDATE_RUN, {"id": current["id"], **variables}, f"run {self.id}"
            )
            current = data["upsertBucket"]["bucket"]
        self._take(current)
        return tuple(merge.changes)

    async def update_summary(self) -> tuple[Change, ...]:
        """Write what was changed of ``summary``; other changes wait for ``update``."""
        fresh = Run(self._session, self.node, self.namespace)
        fresh.summary = self.summary
        changes = await fresh.update()
        # Only the summary is known anew: the rest must still be compared with what this object began with.
        self.node = {**self.node, "summaryMetrics": fresh.node["summaryMetrics"]}
        self.summary.clear()
        dict.update(self.summary, self.summary_metrics)
        return changes


def _checked_tags(tags: Sequence[str]) -> Sequence[str]:
    if isinstance(tags, str) or not all(isinstance(tag, str) for tag in tags):
        raise ConfigError(f"tags must be a list of texts, not {tags!r}", remedy='for example tags=["best"]')
    return tags
