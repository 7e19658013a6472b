"""What becomes of a run in W&B: the table in ``docs/mapping.md``, as code.

Whatever W&B has no field for (the times and the user of a run cannot be set by anybody) is kept in
the config under ``_import``, next to what was renamed or did not fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from engine.records import DatasetInput, Json, Namespace, Run, RunState
from engine.transfer.context import Context
from engine.wandb.history.rows import LastRow, RowSequence
from engine.wandb.jsontext import Plain, clean_text, encode_json, without_passwords
from engine.wandb.names import escaped_keys, is_run_tag, run_id

PROVENANCE: Final = "_import"
WANDB: Final = "wandb"
"""Key of ``Run.extra`` for what only W&B has; see ``engine.wandb.reading.runs``."""

WRITER_ID: Final = "import"
CONFIG_GUIDANCE = 10_000_000
"""Bytes of a config beyond which the service's pages get slow."""

_SDK_CONFIG_KEYS = frozenset({"wandb_version", PROVENANCE})


@dataclass(frozen=True, slots=True)
class Ending:
    """How the file stream of a run ends.

    Attributes:
        exit_code: None leaves the run open; the server calls it crashed after some minutes of silence.
        upsert_state: what the run is created as, None for running.
    """

    exit_code: int | None
    preempting: bool = False
    upsert_state: str | None = None


ENDINGS: Final[Mapping[RunState, Ending]] = {
    RunState.FINISHED: Ending(0),
    RunState.FAILED: Ending(1),
    # 255 is what W&B's own client ends a run with that was interrupted.
    RunState.KILLED: Ending(255),
    RunState.CRASHED: Ending(None),
    RunState.RUNNING: Ending(None),
    RunState.PENDING: Ending(None, upsert_state="pending"),
    RunState.PREEMPTING: Ending(None, preempting=True),
    RunState.PREEMPTED: Ending(None, preempting=True),
}

_APPROXIMATE_STATES = {
    RunState.KILLED: "it ends with exit code 255, which a server may call failed",
    RunState.RUNNING: "it goes on at the source, but not here: until a later transfer brings its end, the "
    "server will call it crashed",
}


def iso_time(milliseconds: int | None) -> str | None:
    """ISO 8601 in UTC, None for what no calendar holds."""
    if milliseconds is None:
        return None
    try:
        moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}000Z"


@dataclass(slots=True, kw_only=True)
class RunMapping:
    """One run as W&B will hold it.

    Args:
        place: the project that it goes to.
        source_uri: of the source, without secrets.
        system: scheme of the source, as in ``imported_<system>_tags``.
        default_group: for a run without a group of its own.
    """

    run: Run
    place: Namespace
    context: Context
    source_uri: str
    system: str
    default_group: str | None = None
    sweep: str | None = None
    """The sweep that it belongs to at the destination."""
    given_id: str | None = None
    """The id of the run at the destination, if it is not to have its own."""
    history: dict[str, Json] = field(default_factory=dict)
    """What is to be told of the history, for example that it is in sequence mode."""
    metric_definitions: list[dict[str, Json]] = field(default_factory=list)
    _config: dict[str, Json] = field(init=False)
    _tags: list[str] = field(init=False)
    _known: dict[str, Json] = field(init=False)

    def __post_init__(self) -> None:
        plain, told = Plain(), Plain(redact=True)
        self._tags = self._run_tags()
        self._config = self._user_config(plain)
        self._known = self._provenance(told)
        if told.redacted:
            self.lose(
                "password_redacted", "passwords in URLs, which are of no use but to others", told.redacted
            )
        if plain.coerced:
            self.lose(
                "value_coerced",
                "numbers that are not finite, or text that is no UTF-8, in config or tags",
                plain.coerced,
            )
        if self.id != self.run.id:
            self.lose("run_id_changed", f"{self.run.id!r} is no legal id; it became {self.id!r}")
        if (why := _APPROXIMATE_STATES.get(self.run.state)) is not None:
            self.lose("state_not_representable", f"{self.run.source_state or self.run.state}: {why}")

    @property
    def id(self) -> str:
        return self.given_id or run_id(self.run.id)

    @property
    def provenance(self) -> Mapping[str, Json]:
        """Where the run comes from."""
        return self._known

    @property
    def subject(self) -> str:
        return f"run {self.run.id}"

    @property
    def ending(self) -> Ending:
        ending, code = ENDINGS[self.run.state], self.run.exit_code
        # A code that speaks against the state would change it.
        if code is None or ending.exit_code is None or (code == 0) != (ending.exit_code == 0):
            return ending
        return replace(ending, exit_code=code)

    def lose(self, kind: str, detail: str, count: int = 1) -> None:
        """Record a loss, for the report and for the provenance of this run."""
        self.context.lose(kind, self.subject, detail, count)

    def losses(self) -> list[dict[str, Json]]:
        """All that is on record of this run, also what the source recorded."""
        return [
            {"kind": loss.kind, "detail": loss.detail, "count": loss.count}
            for loss in self.context.losses.of_run(self.subject)
        ]

    def upsert(self, entity: str, project: str) -> dict[str, Json]:
        """The variables of ``UPSERT_RUN``; fields without a value stay as the server has them."""
        run = self.run
        variables: dict[str, Json] = {
            "name": self.id,
            "entity": entity,
            "project": project,
            # W&B invents a name for a run that has none; the id at least says which run it is.
            "displayName": clean_text(run.name or run.id),
            "notes": clean_text(run.notes) if run.notes else None,
            "groupName": clean_text(run.group or self.default_group or "") or None,
            "jobType": run.job_type,
            "host": run.host,
            "program": run.code.program,
            "commit": run.code.commit,
            "repo": self._remote(),
            "tags": self._tags,
            "state": self.ending.upsert_state,
            "config": self._checked_config(),
            "sweep": self.sweep,
        }
        return {name: value for name, value in variables.items() if value is not None}

    def _checked_config(self) -> str:
        config = self.config_json()
        if len(config) > CONFIG_GUIDANCE:
            self.context.lose(
                "config_oversized",
                self.subject,
                f"{len(config)} bytes were sent whole; W&B advises against more than {CONFIG_GUIDANCE}",
            )
        return config

    def config_json(self) -> str:
        changing = _without_none({"history": self.history or None, "losses": self.losses() or None})
        return encode_json(
            {
                **self._config,
                PROVENANCE: {"value": self._known | changing},
                "_wandb": {"value": self._internal_config()},
            }
        )

    def _internal_config(self) -> dict[str, Json]:
        """What W&B's own client keeps in a config."""
        return {
            # The presence of `t` is how W&B's client tells a run that ran from one that was only announced.
            "t": {"3": []},
            "e": {WRITER_ID: {**self.environment(), "writerId": WRITER_ID}},
            "m": self.metric_definitions,
        }

    def row_sequence(self) -> RowSequence:
        """What makes lines of rows that are wide already."""
        return RowSequence(step_column=f"{self.system}/step", started_at=self.run.started_at)

    def own_summary(self) -> Mapping[str, Json] | None:
        """The summary that the run had; None if it had none, so that it follows from the history."""
        return self.run.summary

    def internal_summary(self, last: LastRow) -> dict[str, Json]:
        """What W&B's own client keeps in a summary."""
        duration = self.duration_s()
        internal: dict[str, Json] = {}
        if last.step >= 0:
            internal = {"_step": last.step, "_timestamp": last.timestamp / 1000}
        if duration is not None or last.step >= 0:
            runtime = last.runtime if duration is None else duration
            internal |= {"_runtime": runtime, "_wandb": {"runtime": int(runtime)}}
        return internal

    def environment(self) -> dict[str, Json]:
        """Content of ``wandb-metadata.json``: only what the source knows."""
        run = self.run
        git = {"remote": self._remote(), "commit": run.code.commit, "branch": run.code.branch}
        return _without_none(
            {
                "startedAt": iso_time(run.started_at),
                "host": run.host,
                "username": run.user,
                "program": run.code.program,
                "git": _without_none(git) or None,
            }
        )

    def _remote(self) -> str | None:
        return None if self.run.code.remote is None else without_passwords(self.run.code.remote)

    def duration_s(self) -> float | None:
        """Seconds from start to end, never negative; None if either is unknown."""
        if self.run.started_at is None or self.run.ended_at is None:
            return None
        return max(0, self.run.ended_at - self.run.started_at) / 1000

    def _run_tags(self) -> list[str]:
        fitting = list(dict.fromkeys(tag for tag in self.run.tags if is_run_tag(tag)))
        if self.run.deleted and "deleted" not in fitting:
            fitting.append("deleted")
        if dropped := len(self.run.tags) - len([tag for tag in fitting if tag in self.run.tags]):
            self.lose(
                "tag_dropped", "empty, repeated or longer than 64 characters; all are in _import", dropped
            )
        return [clean_text(tag) for tag in fitting]

    def _user_config(self, plain: Plain) -> dict[str, Json]:
        labels_key = f"imported_{self.system}_tags"
        reserved = {key for key in self.run.config if key.startswith("_wandb")}
        renamed = escaped_keys(self.run.config, reserved | _SDK_CONFIG_KEYS | {labels_key}, self.system)
        for key, name in renamed.items():
            self.lose("config_key_renamed", f"{key!r} became {name!r}")
        config: dict[str, Json] = {
            clean_text(renamed.get(key, key)): {"value": plain.of(value)}
            for key, value in self.run.config.items()
        }
        if self.run.labels:
            config[labels_key] = {"value": plain.of(self.run.labels)}
        return config

    def _provenance(self, plain: Plain) -> dict[str, Json]:
        run = self.run
        told = {
            "source": self.source_uri,
            "run_id": run.id,
            "entity": run.namespace.entity or None,
            "project": run.namespace.project,
            "url": run.url,
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
            "tags": list(run.tags) if list(run.tags) != self._tags else None,
            "inputs": [_input(dataset) for dataset in run.inputs] or None,
            "extra": dict(run.extra) or None,
        }
        provenance: dict[str, Json] = plain.of(_without_none(told))
        return provenance


def _input(dataset: DatasetInput) -> dict[str, Json]:
    return {name: value for name, value in asdict(dataset).items() if value not in (None, {})}


def _without_none(values: Mapping[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in values.items() if value is not None}
