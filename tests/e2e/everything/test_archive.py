"""Everything goes into an archive, and from there to another W&B server, as if it went directly."""

from __future__ import annotations

import json
import random
import secrets
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.crashing import Moment
from tests.e2e.everything.copies import SOURCE_KEY, TEAMS, Copies, Copy
from tests.e2e.everything.reading import Place
from tests.e2e.everything.sdk_world import ENTITY, LINEAGE, MEDIA
from tests.e2e.rehearsing import Migration, Undisturbed, survives
from tests.e2e.test_archive import contents
from tests.e2e.transfers import Outcome, command

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Archive:
    """An archive of everything, and the directory with what is known of it."""

    root: Path
    state: Path

    @property
    def uri(self) -> str:
        return f"archive:{self.root}"


def archive(copies: Copies, where: Archive, *options: str) -> Outcome:
    return command(
        "migrate",
        f"wandb:{copies.source.url}/{ENTITY}",
        where.uri,
        *("--source-api-key-env", SOURCE_KEY, "--state-dir", str(where.state), *options),
        environ={SOURCE_KEY: copies.source.api_key},
    )


@pytest.fixture(scope="module")
def kept(copies: Copies, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    where = Archive(tmp_path_factory.mktemp("archive") / "kept", tmp_path_factory.mktemp("state"))
    outcome = archive(copies, where, "--verify", "deep")
    assert outcome.status == 0, outcome.text
    return where


class Restored(Copy):
    """A copy out of an archive."""

    @classmethod
    def of(cls, copies: Copies, kept: Archive, *options: str) -> Restored:
        """One that was not begun."""
        number = next(copies.numbers)
        state = copies.rehearsal.scratch / f"restored-{number}"
        return cls(copies.rehearsal, TEAMS[number], state, (kept.uri, *options))

    def arrived(self) -> dict[str, Any]:
        return whatever_order(Copy.arrived(self))


def whatever_order(held: dict[str, Any]) -> dict[str, Any]:
    """What an entity holds, with what machines measured as objects, not as texts."""

    def read(line: str) -> Any:
        return json.loads(line) if line.startswith("{") else line

    return {**held, "lines": [[*where, read(line)] for *where, line in held["lines"]]}


@pytest.fixture(scope="module")
def restored(copies: Copies, kept: Archive) -> Restored:
    copy = Restored.of(copies, kept)
    ended = copy.run()
    assert ended.status == 0, ended.said
    return copy


def test_what_is_restored_is_what_a_direct_copy_brings(copies: Copies, restored: Restored) -> None:
    expected, found = whatever_order(copies.undisturbed().arrived), restored.arrived()
    assert found.keys() == expected.keys()
    for part, held in expected.items():
        assert found[part] == held, part


@pytest.mark.parametrize("project", [LINEAGE, MEDIA])
def test_the_official_sdk_reads_the_same_on_both_servers(
    copies: Copies, restored: Restored, project: str
) -> None:
    there = Place(copies.source, ENTITY)
    here = Place(copies.rehearsal.sandbox, restored.project)
    assert here.runs(project) == there.runs(project)
    assert here.collections(project) == there.collections(project)
    assert here.links(project) == there.links(project)


def test_a_plan_tells_what_restoring_takes(copies: Copies, kept: Archive, tmp_path: Path) -> None:
    copy, launcher = Restored.of(copies, kept), copies.rehearsal.launcher
    plans = []
    for source in (kept.uri, f"wandb:{copies.source.url}/{ENTITY}"):
        arguments = (source, copy.goal, "--source-api-key-env", SOURCE_KEY, "--state-dir", str(tmp_path))
        ended = launcher.run("plan", *arguments, "--json")
        assert ended.status == 0, ended.said
        plans.append(ended.events[-1])
    archived, direct = plans
    for amount in ("runs_to_move", "files", "artifacts", "artifact_files", "bytes"):
        assert archived[amount] == direct[amount], amount


def test_archiving_again_writes_nothing(copies: Copies, kept: Archive) -> None:
    before = contents(kept.root)
    assert archive(copies, kept).status == 0
    assert contents(kept.root) == before


def test_nor_does_archiving_again_without_a_ledger(copies: Copies, kept: Archive, tmp_path: Path) -> None:
    before = contents(kept.root)
    assert archive(copies, Archive(kept.root, tmp_path), "--no-incremental").status == 0
    assert contents(kept.root) == before


def test_restoring_again_writes_nothing(restored: Restored) -> None:
    restored.is_all_done()


# -- kills


class Archiving(Migration):
    """A project that was copied goes into an archive, from the server that tells when to kill."""

    @property
    def goal(self) -> str:
        return f"archive:{self.state.with_suffix('.archive')}"

    def arrived(self) -> dict[str, Any]:
        return contents(self.state.with_suffix(".archive"))


def test_archiving_that_was_killed_is_gone_on_with(copies: Copies, restored: Restored) -> None:
    rehearsal = copies.rehearsal
    source = f"wandb:{rehearsal.sandbox.url}/{restored.project}/{LINEAGE}"
    begun = [Archiving(rehearsal, LINEAGE, rehearsal.scratch / f"archiving-{n}", (source,)) for n in range(5)]
    expected, seed = undisturbed(begun.pop()), secrets.randbelow(10**6)
    draw = random.Random(seed)
    for archiving in begun:
        moment = Moment.draw(draw, expected.requests)
        archiving.run(moment)
        again = archiving.run()
        assert again.status == 0, again.said
        assert archiving.arrived() == expected.arrived, f"seed {seed}: {moment}"


@pytest.mark.timeout(600)
def test_restoring_survives_a_kill_at_any_moment(copies: Copies, kept: Archive) -> None:
    begin = partial(Restored.of, copies, kept)
    survives(begin, undisturbed(begin()), secrets.randbelow(10**6), moments=30)


def undisturbed(migration: Migration) -> Undisturbed:
    ended = migration.run()
    assert ended.status == 0, ended.said
    requests = migration.rehearsal.plug.requests
    return Undisturbed(migration.arguments, migration.arrived(), requests)
