"""What W&B holds of what it was given: ``docs/mapping.md``, as what must be found there.

Written from the declared rules and apart from ``engine.wandb.mapping`` and the writers, which it is there to
check; only names, texts and the digest of a version are made by the same functions.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, replace
from typing import Final

import orjson

from engine.errors import NotFound, Side
from engine.protocols import SystemOptions, Unreadable
from engine.records import (
    ConsoleLine,
    DatasetInput,
    HistoryChunk,
    HistoryRows,
    Json,
    Loss,
    Namespace,
    Project,
    Run,
    RunFile,
    RunState,
    Selection,
    SystemInfo,
)
from engine.transfer.context import Context, LossLedger
from engine.verify.values import ANYTHING, Fact, Facts, OneOf
from engine.wandb import names, uri
from engine.wandb.audit.artifacts import ArtifactAudit
from engine.wandb.audit.reports import ReportAudit
from engine.wandb.collections.registries import PortfolioPlaces
from engine.wandb.history.rows import LINE_LIMIT
from engine.wandb.jsontext import Plain, clean_text, encode_row, without_passwords
from engine.wandb.mapping import PROVENANCE, WANDB, iso_time
from engine.wandb.own_ids import localised, localised_row
from engine.wandb.placement import Placement
from engine.wandb.reading.runs import counts_of
from engine.wandb.runs.files import METADATA
from engine.wandb.runs.ids import IdPolicy, RunIds
from engine.wandb.runs.logs import BARE, WHY_BARE, plain_line
from engine.wandb.runs.replica import is_replica
from engine.wandb.source import WandbSource

INTERNAL: Final = frozenset({"_step", "_timestamp", "_runtime", "_wandb"})
"""Columns of a history that W&B has a meaning for."""

OPEN: Final = "open"
"""A run that nobody ended: the server calls it running, and after some minutes crashed."""

_STATES: Final[Mapping[RunState, Json]] = {
    RunState.FINISHED: "finished",
    RunState.FAILED: "failed",
    RunState.KILLED: OneOf(("killed", "failed")),
    # A server that cannot set a run with a history back to pending leaves it open.
    RunState.PENDING: OneOf(("pending", OPEN)),
}

_OPEN_STATES: Final = frozenset({"running", "crashed", "preempting", "preempted"})

_NOT_COMPARED: Final = frozenset({"source", "url", "losses", "history"})
"""Of the provenance: how the store was reached then, and what the writer says of itself."""


class WandbAudit(ArtifactAudit, ReportAudit):
    """A W&B destination read back; see ``engine.verify.audit.Audit``.

    Args:
        rest: the URI after ``wandb:``.
    """

    def __init__(self, rest: str, options: SystemOptions) -> None:
        self._location = uri.parse(rest)
        self._options = options
        self._source = WandbSource(rest, options, side=Side.DESTINATION)
        self._shared: set[Namespace] = set()
        self._held_sweeps, self._sweep_names, self._held_views = {}, {}, {}
        self._references = None
        self._targets: Mapping[Namespace, Namespace] = {}
        self._ids: RunIds
        self._context: Context
        self._system = "source"
        self.step_column: str | None = None

    @property
    def source(self) -> WandbSource:
        return self._source

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncGenerator[SystemInfo]:
        self._context = context
        self._system = self._source_uri().partition(":")[0] or "source"
        self.step_column = f"{self._system}/step"
        # What is lost while reading is found to be missing; it is nothing that the destination declares.
        self._ids = RunIds(IdPolicy.of(self._options.ids), self._source_uri())
        await self._ids.load(context)
        async with self._source.open(replace(context, losses=LossLedger())) as info:
            yield info

    def _source_uri(self) -> str:
        source = self._context.source
        # Runs of an archive came from somewhere else, and they are to be the same as if they came directly.
        return (source.origin or source.uri) if source else ""

    # -- where things are ------------------------------------------------------------------------

    async def places(self, projects: Sequence[Project]) -> Mapping[Namespace, Namespace]:
        placement = Placement(
            location=self._location,
            as_groups=self._options.experiments_as == "group",
            identity=self._source.identity,
            remap=self._context.remap,
            system=self._system,
        )
        targets, errors = placement.targets([project.namespace for project in projects])
        if errors:
            raise errors[0]
        self._targets, self._shared = targets, placement.shared(targets)
        self._portfolio_places = PortfolioPlaces(
            self._source.client,
            placement.entity,
            lambda source: targets.get(source) or placement.wished(source),
        )
        for source, target in placement.renamed(targets).items():
            self._context.lose("project_renamed", f"project {source}", f"became {target}")
        return targets

    async def runs(self, namespace: Namespace, ids: Sequence[str]) -> AsyncGenerator[Run | Unreadable]:
        if self._keeps_rows:
            await self._sweeps(namespace)
        named = orjson.dumps({"name": {"$in": list(ids)}}).decode()
        async with aclosing(self._listed(namespace, Selection(filter=named))) as runs:
            async for run in runs:
                yield run

    async def others(self, namespace: Namespace) -> AsyncGenerator[Run | Unreadable]:
        async with aclosing(self._listed(namespace, Selection())) as runs:
            async for run in runs:
                yield run

    async def _listed(self, namespace: Namespace, selection: Selection) -> AsyncGenerator[Run | Unreadable]:
        project = Project(namespace=namespace, id=namespace.path)
        try:
            async with aclosing(self._source.runs(project, selection)) as runs:
                async for run in runs:
                    yield run
        except NotFound:
            return  # no project, no runs

    def run_id(self, run: Run) -> str:
        return self._ids.of(run, self._targets.get(run.namespace, run.namespace))

    def claims(self, found: Run) -> bool:
        return bool(_provenance(found).get("source") == self._source_uri())

    # -- runs ------------------------------------------------------------------------------------

    def expected(self, run: Run, namespace: Namespace) -> Facts:
        group = run.group or (run.namespace.project if namespace in self._shared else None)
        if self.run_id(run) != run.id:
            self._lose(run, "run_id_changed", f"{run.id!r} became {self.run_id(run)!r}")
        if run.state in (RunState.KILLED, RunState.RUNNING):
            self._lose(run, "state_not_representable", run.source_state or str(run.state))
        sweep = self._sweep_of(run, namespace)
        if is_replica(run) and run.sweep is not None and sweep is None:
            self._lose(run, "sweep_dropped", f"sweep {run.sweep!r}")
        tags, plain = _tags(run), Plain(finite=not is_replica(run))
        if dropped := len(run.tags) - len({*tags} & {*map(clean_text, run.tags)}):
            self._lose(run, "tag_dropped", "empty, repeated or too long", dropped)
        facts: dict[Fact, Json] = {
            ("name",): clean_text(run.name or run.id),
            ("notes",): clean_text(run.notes) if run.notes else None,
            ("group",): clean_text(group or "") or None,
            ("job type",): run.job_type,
            ("host",): run.host,
            ("program",): run.code.program,
            ("commit",): run.code.commit,
            ("repository",): None if run.code.remote is None else without_passwords(run.code.remote),
            ("state",): _STATES.get(run.state, OPEN),
            **{("tag", tag): True for tag in tags},
            **(self._same_config(run, plain) if is_replica(run) else self._config(run, plain)),
            **self._summary(run, namespace),
        }
        if self._keeps_rows:
            facts["sweep",] = sweep
            facts["exit code",] = ANYTHING if run.exit_code is None else run.exit_code
        if plain.coerced:
            self._lose(run, "value_coerced", "values in config or tags", plain.coerced)
        return {**facts, **self._expected_provenance(run)}

    def _lose(self, run: Run, kind: str, detail: str, count: int = 1) -> None:
        self._context.lose(kind, f"run {run.id}", detail, count)

    def _config(self, run: Run, plain: Plain) -> Facts:
        labels = f"imported_{self._system}_tags"
        reserved = {key for key in run.config if key.startswith("_wandb")}
        renamed = names.escaped_keys(
            run.config, reserved | {"wandb_version", PROVENANCE, labels}, self._system
        )
        for key, name in renamed.items():
            self._lose(run, "config_key_renamed", f"{key!r} became {name!r}")
        return {
            **{("config", clean_text(renamed.get(k, k))): plain.of(v) for k, v in run.config.items()},
            **{("label", clean_text(key)): plain.of(value) for key, value in run.labels.items()},
        }

    def _same_config(self, run: Run, plain: Plain) -> Facts:
        """That of a run that was W&B's already, with what W&B's own client keeps there."""
        facts: dict[Fact, Json] = {
            ("config", clean_text(key)): plain.of(value)
            for key, value in run.config.items()
            if key != PROVENANCE
        }
        if self._keeps_rows:
            # A run that its client never started has no block of its own yet.
            facts["client", "_wandb"] = ANYTHING
            facts |= {key: plain.of(value) for key, value in _of_client(run).items()}
        return facts

    def _summary(self, run: Run, namespace: Namespace) -> Facts:
        if run.summary is None:
            return {("summary",): ANYTHING, ("runtime",): ANYTHING}
        columns = self.columns(run, run.summary)
        values = {
            ("summary", columns.get(key, key)): self._spoken(value, namespace)
            for key, value in run.summary.items()
        }
        facts: dict[Fact, Json] = {fact: value for fact, value in values.items() if fact[1] not in INTERNAL}
        facts["runtime",] = ANYTHING
        if self._keeps_rows:
            facts["runtime",] = run.summary.get("_runtime")
        elif run.started_at is not None and run.ended_at is not None and run.state is not RunState.PENDING:
            facts["runtime",] = max(0, run.ended_at - run.started_at) / 1000
        return facts

    def _spoken(self, value: Json, namespace: Namespace) -> Json:
        """A value as it speaks of artifacts there; earlier releases brought it as it was."""
        own = localised(value, namespace) if self._keeps_rows else value
        return value if own == value else OneOf((own, value))

    @property
    def _keeps_rows(self) -> bool:
        """Whether the source has rows in W&B's own form, whose internal columns stay as they are."""
        return self._system == "wandb"

    def _expected_provenance(self, run: Run) -> Facts:
        told = Plain(redact=True)
        tags = _tags(run)
        known: dict[str, Json] = {
            "run_id": run.id,
            "entity": run.namespace.entity or None,
            "project": run.namespace.project,
            "user": run.user,
            "state": run.source_state or str(run.state),
            "started_at": run.started_at,
            "started_at_iso": iso_time(run.started_at),
            "ended_at": run.ended_at,
            "ended_at_iso": iso_time(run.ended_at),
            "heartbeat_at": run.heartbeat_at,
            "exit_code": run.exit_code,
            "sweep": run.sweep,
            "parent_id": run.parent_id,
            "deleted": run.deleted or None,
            "entry_point": run.code.entry_point,
            "branch": run.code.branch,
            "tags": list(run.tags) if list(run.tags) != tags else None,
            "inputs": [_input(dataset) for dataset in run.inputs] or None,
        }
        extra = {key: value for key, value in run.extra.items() if key != WANDB}
        if is_replica(run):
            known["description"] = run.extra[WANDB].get("description")
            known["origin"] = run.config.get(PROVENANCE)
        facts: dict[Fact, Json] = {
            (PROVENANCE, key): told.of(value) for key, value in known.items() if value is not None
        }
        facts |= {(PROVENANCE, "extra", key): told.of(value) for key, value in extra.items()}
        if told.redacted:
            self._lose(run, "password_redacted", "passwords in URLs", told.redacted)
        return facts

    def found(self, run: Run) -> Facts:
        state = run.source_state or str(run.state)
        labels_key = f"imported_{self._system}_tags"
        labels = run.config.get(labels_key)
        summary = run.summary or {}
        facts: dict[Fact, Json] = {
            ("name",): run.name,
            ("notes",): run.notes or None,
            ("group",): run.group or None,
            ("job type",): run.job_type or None,
            ("host",): run.host or None,
            ("program",): run.code.program,
            ("commit",): run.code.commit,
            ("repository",): run.code.remote,
            ("state",): OPEN if state in _OPEN_STATES else state,
            ("runtime",): summary.get("_runtime"),
            **{("tag", tag): True for tag in run.tags},
            **{("summary", key): value for key, value in summary.items() if key not in INTERNAL},
        }
        facts |= {
            ("config", key): value
            for key, value in run.config.items()
            if key != PROVENANCE and not (key == labels_key and isinstance(labels, dict))
        }
        if self._keeps_rows:
            facts |= {("sweep",): run.sweep, ("exit code",): run.exit_code, **_of_client(run)}
        if isinstance(labels, dict):
            facts |= {("label", key): value for key, value in labels.items()}
        for key, value in _provenance(run).items():
            if key == "extra" and isinstance(value, dict):
                facts |= {(PROVENANCE, "extra", name): item for name, item in value.items()}
            elif key not in _NOT_COMPARED:
                facts[PROVENANCE, key] = value
        return facts

    def counted(self, found: Run) -> Mapping[str, int]:
        counts = counts_of(found)
        known = {"files": counts.files, "artifacts": counts.artifacts}
        return {part: count for part, count in known.items() if count is not None}

    def told(self, found: Run) -> Sequence[Loss]:
        return [
            Loss(
                kind=str(loss["kind"]),
                subject=f"run {found.id}",
                detail=str(loss["detail"]),
                count=int(loss["count"]),
            )
            for loss in _provenance(found).get("losses") or ()
        ]

    # -- histories -------------------------------------------------------------------------------

    def columns(self, run: Run, keys: Collection[str]) -> Mapping[str, str]:  # noqa: ARG002
        if self._keeps_rows:
            return {}
        return names.escaped_keys(keys, INTERNAL | {f"{self._system}/step"}, self._system)

    def expected_chunk(self, chunk: HistoryChunk, namespace: Namespace) -> HistoryChunk:
        if not self._keeps_rows or not isinstance(chunk, HistoryRows):
            return chunk
        rows = [localised_row(row, namespace) for row in chunk.rows]
        return chunk if rows == chunk.rows else replace(chunk, rows=rows)

    def starts_at(self, run: Run) -> int | None:
        return run.started_at

    def expected_line(self, line: ConsoleLine, subject: str) -> ConsoleLine | None:
        size = len(encode_row({"content": line.text}))
        if size > LINE_LIMIT:
            detail = f"a line of the console of {size} bytes was left out"
            self._context.lose("log_line_too_long", subject, detail)
            return None
        if "STRUCTURED_CONSOLE_LOGS" in self._source.features:
            return line
        if (plain := plain_line(line)) is not line:
            self._context.lose(BARE, subject, WHY_BARE)
        return plain

    # -- files and artifacts ---------------------------------------------------------------------

    def expected_file(self, file: RunFile) -> RunFile | None:
        return file if names.is_safe_path(file.path) else None

    def added_files(self, run: Run) -> Collection[str]:  # noqa: ARG002
        return (METADATA,)


def _tags(run: Run) -> list[str]:
    """The tags that a server holds of a run."""
    fitting = list(dict.fromkeys(clean_text(tag) for tag in run.tags if names.is_run_tag(tag)))
    return [*fitting, "deleted"] if run.deleted and "deleted" not in fitting else fitting


def _of_client(run: Run) -> Facts:
    """What W&B's own client keeps in a config besides the values of the user."""
    return {("client", name): value for name, value in run.extra[WANDB].items() if name != "description"}


def _provenance(found: Run) -> Mapping[str, Json]:
    told = found.config.get(PROVENANCE)
    return told if isinstance(told, dict) else {}


def _input(dataset: DatasetInput) -> dict[str, Json]:
    return {name: value for name, value in asdict(dataset).items() if value not in (None, {})}
