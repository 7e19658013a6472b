"""Records as JSON and back, every value as it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

from engine.records import (
    Artifact,
    ArtifactEntry,
    Code,
    DatasetInput,
    Json,
    Namespace,
    Project,
    Run,
    RunFile,
    RunState,
)

_PRIVATE: Final = frozenset({"locator", "local_path", "fingerprint"})
"""Where a source finds things, and how it tells whether they changed, is its own business."""


def plain(record: Any) -> Json:
    """A record, or what is in one, as JSON."""
    if is_dataclass(record):
        return {
            field.name: plain(getattr(record, field.name))
            for field in fields(record)
            if field.name not in _PRIVATE
        }
    if isinstance(record, Mapping):
        return {key: plain(value) for key, value in record.items()}
    if isinstance(record, tuple | list):
        return [plain(value) for value in record]
    return str(record) if isinstance(record, RunState) else record


def project_of(told: Mapping[str, Json]) -> Project:
    """Raises ``TypeError`` or ``KeyError`` if it is none, as all here do."""
    return Project(**{**told, "namespace": Namespace(**told["namespace"])})


def run_of(told: Mapping[str, Json]) -> Run:
    return Run(
        **{
            **told,
            "namespace": Namespace(**told["namespace"]),
            "state": RunState(told["state"]),
            "tags": tuple(told["tags"]),
            "code": Code(**told["code"]),
            "inputs": tuple(DatasetInput(**each) for each in told["inputs"]),
        }
    )


def artifact_of(told: Mapping[str, Json]) -> Artifact:
    return Artifact(
        **{
            **told,
            "namespace": Namespace(**told["namespace"]),
            "aliases": tuple(told["aliases"]),
            "tags": tuple(told["tags"]),
        }
    )


def file_of(told: Mapping[str, Json]) -> RunFile:
    return RunFile(**told)


def entry_of(told: Mapping[str, Json]) -> ArtifactEntry:
    return ArtifactEntry(**told)
