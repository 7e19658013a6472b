"""Verification finds whatever is not as it should be, and nothing else.

The destination is spoiled behind the back of its server, one thing at a time.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import open_destination, open_source
from engine.protocols import SystemOptions
from engine.records import Selection
from engine.sandbox import Account
from engine.verify.findings import Difference, Findings, Level
from engine.verify.verifier import Verifier, VerifyOptions
from tests.e2e.planting import Spoiler
from tests.e2e.plants import CONTENT, HISTORY, SAID, Case
from tests.e2e.transfers import Target, migrate
from tests.servers import RunningSandbox, running_sandbox
from tests.stores import BEGAN, Sql, Store, ordinary_store, put, sqlite_store

NAN, INF = math.nan, math.inf


@dataclass(frozen=True)
class Copy:
    """A store, and what became of it on a server of its own."""

    store: Store
    server: RunningSandbox
    target: Target
    spoiler: Spoiler

    def id(self, label: str) -> str:
        return self.store.runs[label]

    def verify(self, level: Level = Level.FULL, only: str | None = None) -> Findings:
        return verify(self.store, self.target, level, only and self.id(only))


def verify(
    store: Store, target: Target, level: Level = Level.FULL, only: str | None = None, **options: Any
) -> Findings:
    roots = {"mlflow-artifacts:/": f"{store.served}/"}
    verifier = Verifier(
        open_source(f"mlflow:{store.uri}", SystemOptions(artifact_roots=roots)),
        open_destination(target.uri, SystemOptions(api_key=target.api_key)),
        VerifyOptions(
            level=level,
            selection=Selection(
                include_deleted=True, filter=f"attributes.run_id = '{only}'" if only else None
            ),
            **options,
        ),
    )
    return anyio.run(verifier.run)


def filled_store(directory: Path) -> Store:
    """What a team has, and a run each for numbers, steps and keys that W&B cannot take as they are."""
    store = ordinary_store(sqlite_store(directory))
    sql = Sql(store)
    odd = sql.experiment("odd")
    values = [1.0, NAN, INF, -INF, 2.0, 0.1 + 0.2]
    sql.run(odd, "numbers", points=[("m", s, BEGAN + s, v) for s, v in enumerate(values)])
    sql.run(
        odd,
        "resequenced",
        points=[("m", s // 3 - 2, BEGAN + 1_000 * s, float(s)) for s in range(30)],
    )
    sql.run(odd, "keys", points=[(k, s, BEGAN, s + 0.5) for k in ("_step", "", "Ω 😀") for s in range(4)])
    deleted = sql.run(odd, "deleted", deleted=True)
    put(store, deleted, {"a.bin": bytes(range(256)), "b/c.txt": b"text"})
    return store


@pytest.fixture(scope="module")
def copy(stores: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[Copy]:
    store = filled_store(stores / "verified")
    data_dir = tmp_path_factory.mktemp("verified")
    with running_sandbox(data_dir, accounts=[Account("e2e")]) as server:
        target = Target(server.url, server.api_key, "e2e", "copy")
        roots = {"mlflow-artifacts:/": f"{store.served}/"}
        assert migrate(store.uri, target, artifact_roots=roots, include_deleted=True).exit_status == 0
        yield Copy(store, server, target, Spoiler(data_dir))


# -- a copy that is whole --------------------------------------------------------------------------


@pytest.mark.parametrize("level", Level)
def test_a_clean_copy_has_no_differences(copy: Copy, level: Level) -> None:
    findings = copy.verify(level)
    assert [str(difference) for difference in findings.differences] == []
    assert [one.run for one in findings.not_verified] == [copy.id("still-running")]
    assert findings.exit_status == 0
    assert findings.counts.runs == len(copy.store.runs) - 1 == 15
    assert findings.counts.points == (0 if level is Level.COUNTS else 542)
    assert findings.counts.entries == (0 if level is Level.COUNTS else 16)


def test_what_was_declared_is_what_the_runs_tell_of_themselves(copy: Copy) -> None:
    findings = copy.verify()
    assert findings.told.counts
    assert findings.told.counts == findings.declared.counts


# -- a copy that is not ----------------------------------------------------------------------------


BYTES: dict[str, Case] = {
    "one byte": (
        "deleted",
        lambda s, i: s.replace(s.blob(i("deleted"), "a.bin"), bytes(range(1, 256)) + b"!"),
        ("changed", "entry", "entry 'a.bin' bytes with MD5", "came"),
    ),
    "a truncated file": (
        "deleted",
        lambda s, i: s.replace(s.blob(i("deleted"), "a.bin"), bytes(100)),
        ("changed", "entry", "entry 'a.bin'", "cannot be read whole"),
    ),
    "lost bytes": (
        "deleted",
        lambda s, i: s.lose(s.blob(i("deleted"), "a.bin")),
        ("missing", "entry", "entry 'a.bin' is listed, but its bytes are missing"),
    ),
}


def planted(copy: Copy, tmp_path: Path, case: Case, level: Level) -> None:
    """The thing is found where it was planted, and called what it is."""
    label, plant, (kind, part, *words) = case
    with copy.spoiler.spoiling(tmp_path / "blobs"):
        plant(copy.spoiler, copy.id)
        findings = copy.verify(level, only=label)
    told = [f"{one.kind} {one.part} {one}" for one in findings.differences]
    named = [one for one in findings.differences if says(one, kind, part, words)]
    assert [one.run for one in named] == [copy.id(label)], told
    assert findings.exit_status == 1


def says(difference: Difference, kind: str, part: str, words: list[str]) -> bool:
    text = str(difference)
    return (difference.kind, difference.part) == (kind, part) and all(word in text for word in words)


@pytest.mark.parametrize("name", HISTORY)
def test_of_a_history_is_found(copy: Copy, tmp_path: Path, name: str) -> None:
    planted(copy, tmp_path, HISTORY[name], Level.FULL)


@pytest.mark.parametrize("name", SAID)
def test_of_what_is_said_of_a_run_is_found(copy: Copy, tmp_path: Path, name: str) -> None:
    planted(copy, tmp_path, SAID[name], Level.COUNTS)


@pytest.mark.parametrize("name", CONTENT)
def test_of_an_artifact_is_found(copy: Copy, tmp_path: Path, name: str) -> None:
    planted(copy, tmp_path, CONTENT[name], Level.FULL)


@pytest.mark.parametrize("name", BYTES)
def test_of_stored_bytes_is_found_by_reading_them(copy: Copy, tmp_path: Path, name: str) -> None:
    planted(copy, tmp_path, BYTES[name], Level.DEEP)


def test_afterwards_the_copy_is_clean_again(copy: Copy) -> None:
    """Else the tests before found things of one another."""
    assert copy.verify(Level.DEEP).exit_status == 0
