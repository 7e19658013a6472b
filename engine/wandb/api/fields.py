"""What a list tells of a run: the attributes that cost no further request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from engine.records import Json, Namespace
from engine.records import Run as RunRecord
from engine.wandb.api.placed import InProject
from engine.wandb.api.times import utc
from engine.wandb.reading.runs import Counts, run_of, run_url
from engine.wandb.reading.values import parse_object

_FINAL = frozenset({"finished", "failed", "crashed", "killed"})

INTERNAL = ("_wandb", "wandb_version")
"""What W&B's client keeps in a config beside the values of the user."""


def unwrapped(stored: Mapping[str, Json]) -> dict[str, Json]:
    """The values of a config that are the user's own, each unwrapped exactly once."""
    return {
        key: entry["value"]
        for key, entry in stored.items()
        if key not in INTERNAL and isinstance(entry, dict) and "value" in entry
    }


class RunFields(InProject):
    """A run as it was when it was asked for.

    ``config``, ``summary``, ``tags``, ``notes``, ``name``, ``group`` and ``job_type`` may be changed;
    ``update`` then writes what was changed.

    Attributes:
        node: the server's own answer.
        base_url: of the server.
    """

    def __init__(self, node: Mapping[str, Json], namespace: Namespace, base_url: str) -> None:
        self.namespace = namespace
        self.base_url = base_url
        self._take(node)

    def _take(self, node: Mapping[str, Json]) -> None:
        """Become what the server says; changes that were not written are gone."""
        for name in ("config", "summary", "record"):
            self.__dict__.pop(name, None)
        self.node = node
        self.name: str | None = node.get("displayName")
        self.notes: str | None = node.get("notes")
        self.group: str | None = node.get("group")
        self.job_type: str | None = node.get("jobType")
        self.tags: list[str] = list(node.get("tags") or ())

    @cached_property
    def config(self) -> dict[str, Json]:
        """Hyperparameters, without what W&B's client keeps for itself."""
        return unwrapped(parse_object(self.node["config"]))

    @property
    def rawconfig(self) -> dict[str, Json]:
        """The stored config, without changes of yours and with what W&B's client keeps in it."""
        stored = parse_object(self.node["config"])
        return {
            key: entry["value"] if isinstance(entry, dict) and "value" in entry else entry
            for key, entry in stored.items()
        }

    @property
    def json_config(self) -> str:
        """The text that is stored: each key with its ``value`` and ``desc``."""
        return self.node["config"] or "{}"

    @cached_property
    def summary(self) -> dict[str, Json]:
        """Final values, as plain JSON."""
        return self.summary_metrics

    @property
    def summary_metrics(self) -> dict[str, Json]:
        """The stored summary, without changes of yours."""
        return parse_object(self.node["summaryMetrics"])

    @property
    def id(self) -> str:
        """The short id, the last part of its address."""
        return str(self.node["name"])

    @property
    def storage_id(self) -> str:
        """The id by which the server changes it."""
        return str(self.node["id"])

    @property
    def display_name(self) -> str | None:
        """Another word for ``name``."""
        return self.name

    @property
    def path(self) -> list[str]:
        """Entity, project and id."""
        return [self.entity, self.project, self.id]

    @property
    def url(self) -> str:
        """Where a browser shows it."""
        return run_url(self.base_url, self.namespace, self.id)

    @property
    def state(self) -> str:
        """``running``, ``finished``, ``failed``, ``crashed``, ``killed``, ``pending``, ``preempting``, …"""
        return self.node.get("state") or ""

    @property
    def user(self) -> str | None:
        """The name of the account that it belongs to; None if that was removed."""
        return (self.node.get("user") or {}).get("username")

    username = user

    @property
    def host(self) -> str | None:
        return self.node.get("host")

    @property
    def commit(self) -> str | None:
        """The git hash of the code, if it was run from a repository."""
        return self.node.get("commit")

    @property
    def description(self) -> str | None:
        return self.node.get("description")

    @property
    def sweep_name(self) -> str | None:
        """The id of the sweep that started it."""
        return self.node.get("sweepName")

    @property
    def exit_code(self) -> int | None:
        code = self.node.get("exitcode")
        return None if code is None else int(code)

    @property
    def created_at(self) -> str:
        """When it began: ISO 8601, always with a zone; what has none is UTC."""
        return utc(self.node["createdAt"])

    @property
    def heartbeat_at(self) -> str | None:
        """When the server last heard from it."""
        heartbeat = self.node.get("heartbeatAt")
        return utc(heartbeat) if heartbeat else None

    @property
    def ended_at(self) -> str | None:
        """When it ended, as far as W&B keeps that: the last heartbeat of a run that is over."""
        return self.heartbeat_at if self.state in _FINAL else None

    @property
    def history_line_count(self) -> int | None:
        """Rows of the history when it was asked for."""
        return self.node.get("historyLineCount")

    @cached_property
    def record(self) -> RunRecord:
        """The same run as every other source of this package tells it."""
        record = run_of(self.node, self.namespace, self.base_url)
        if record.state.is_final:
            return record
        # It goes on: what it had may have become more, and none may have become some.
        counts = record.locator
        assert isinstance(counts, Counts)
        return replace(record, locator=Counts(rows=max(1, counts.rows or 0), row_bytes=counts.row_bytes))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'/'.join(self.path)} ({self.state})>"
