"""What a W&B project holds, as the official SDK reads it: the witness of every end-to-end test.

Nothing of the engine is imported here.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wandb

INTERNAL = frozenset({"_step", "_timestamp", "_runtime", "_wandb"})
SOURCE_STEP = "mlflow/step"
"""The column with the step of the source, in runs whose steps W&B could not take as they were."""

Json = Any


def comparable(value: Json) -> str:
    """JSON whose keys are in order, in which NaN equals NaN and 1 is not 1.0.

    By which ids it speaks of artifacts is up to each copy; ``tests/e2e/test_copies_apart.py`` compares what
    they stand for.
    """
    return re.sub("(?<=wandb-client-artifact://)[0-9a-z]{128}", "id", json.dumps(value, sort_keys=True))


@dataclass(frozen=True)
class SdkArtifact:
    """One version; ``files`` maps each path to the SHA-256 of the bytes that were downloaded, or to a URI."""

    name: str
    type: str
    description: str | None
    metadata: dict[str, Json]
    aliases: tuple[str, ...]
    digest: str
    files: dict[str, str]


@dataclass(frozen=True)
class SdkRun:
    """A run with everything that the SDK tells of it."""

    id: str
    name: str
    state: str
    group: str | None
    job_type: str | None
    notes: str | None
    tags: tuple[str, ...]
    config: dict[str, Json]
    summary: dict[str, Json]
    metadata: dict[str, Json] | None
    created_at: str
    rows: list[dict[str, Json]]
    files: dict[str, str]
    artifacts: list[SdkArtifact] = field(default_factory=list)

    @property
    def provenance(self) -> dict[str, Json]:
        provenance = self.config["_import"]
        assert isinstance(provenance, dict)
        return provenance

    @property
    def labels(self) -> dict[str, str]:
        """MLflow's tags of the user."""
        return dict(self.config.get("imported_mlflow_tags", {}))

    @property
    def losses(self) -> set[str]:
        """Kinds of loss that the run itself tells of."""
        return {loss["kind"] for loss in self.provenance.get("losses", ())}

    def points(self) -> Counter[tuple[str, int, str]]:
        """(key, step, ``repr`` of the value) of every point: so NaN equals NaN, and -0.0 is not 0.0."""
        return Counter((key, step, repr(float(value))) for key, step, _, value in self._cells())

    def values(self, key: str) -> list[float]:
        """The values of a key in the order of the rows."""
        return [float(value) for name, _, _, value in self._cells() if name == key]

    def times(self) -> dict[tuple[str, int], float]:
        """Seconds since 1970 by (key, step), of rows that hold one value of the key."""
        return {(key, step): at for key, step, at, _ in self._cells()}

    def _cells(self) -> Iterator[tuple[str, int, float, Json]]:
        for row in self.rows:
            step = row[SOURCE_STEP] if SOURCE_STEP in row else row["_step"]
            for key, value in row.items():
                if key not in INTERNAL and key != SOURCE_STEP and value is not None:
                    yield key, step, row["_timestamp"], value


class SdkReader:
    """Reads projects of one server with one key."""

    def __init__(self, url: str, api_key: str) -> None:
        self._api = wandb.Api(overrides={"base_url": url}, api_key=api_key, timeout=60)

    def project(self, entity: str, project: str, *, bytes_too: bool = True) -> dict[str, SdkRun]:
        """All runs by id; ``bytes_too`` also downloads files and artifacts."""
        runs = list(self._api.runs(f"{entity}/{project}", per_page=200, lazy=False))
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda run: self._run(run, bytes_too), runs))
        assert len(found) == len({run.id for run in found}), "a run is listed twice"
        return {run.id: run for run in found}

    def projects(self, entity: str) -> list[str]:
        """Names of the projects of an entity."""
        return sorted(project.name for project in self._api.projects(entity))

    def _run(self, run: Any, bytes_too: bool) -> SdkRun:
        rows = [dict(row) for row in run.scan_history(page_size=10_000)]
        return SdkRun(
            id=run.id,
            name=run.name,
            state=run.state,
            group=run.group,
            job_type=run.job_type,
            notes=run.notes,
            tags=tuple(run.tags),
            config=dict(run.config),
            summary=dict(run.summary_metrics),  # `run.summary` loses the spaces around keys
            metadata=run.metadata,
            created_at=run.created_at,
            rows=rows,
            files=_files(run) if bytes_too else {},
            artifacts=[_artifact(a) for a in run.logged_artifacts()] if bytes_too else [],
        )


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _files(run: Any) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as directory:
        found = {}
        for file in run.files(per_page=1_000):
            with file.download(root=directory, replace=True) as opened:
                found[file.name] = sha256(Path(opened.name).read_bytes())
        return found


def _artifact(artifact: Any) -> SdkArtifact:
    with tempfile.TemporaryDirectory() as directory:
        entries = artifact.manifest.entries
        if any(entry.ref for entry in entries.values()):  # whose bytes are elsewhere
            for path in (path for path, entry in entries.items() if not entry.ref):
                artifact.get_entry(path).download(root=directory, skip_cache=True)
        else:
            artifact.download(root=directory, skip_cache=True)
        files = {
            path: entry.ref or sha256(Path(directory, path).read_bytes()) for path, entry in entries.items()
        }
    return SdkArtifact(
        name=artifact.name,
        type=artifact.type,
        description=artifact.description,
        metadata=dict(artifact.metadata),
        aliases=tuple(sorted(artifact.aliases)),
        digest=artifact.digest,
        files=files,
    )
