"""``engine verify``, certificates, and the verification after ``engine migrate``, as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine.cli.main import main
from engine.cli.verify import Afterwards
from engine.sandbox import Account
from engine.verify.findings import Level
from tests import hostile
from tests.e2e.planting import Spoiler
from tests.e2e.plants import set_to
from tests.e2e.test_verify import verify
from tests.e2e.transfers import Outcome, Target, migrate
from tests.servers import RunningSandbox, running_sandbox
from tests.stores import BEGAN, Sql, Store, put, sqlite_store


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certified")


@pytest.fixture(scope="module")
def server(data_dir: Path) -> Generator[RunningSandbox]:
    with running_sandbox(data_dir, accounts=[Account("e2e")]) as running:
        yield running


@pytest.fixture(scope="module")
def store(stores: Path) -> Store:
    """Three runs: one as it should be, one with several values on a step, one with artifacts."""
    store = sqlite_store(stores / "certified")
    sql = Sql(store)
    experiment = sql.experiment("small")
    sql.run(experiment, "plain", points=[("m", s, BEGAN + s, s / 3) for s in range(20)], params={"a": "1"})
    sql.run(experiment, "steps", points=[("m", 0, BEGAN + s, float(s)) for s in range(5)])
    put(store, sql.run(experiment, "files"), {"model/weights.bin": bytes(1_000)})
    return store


@pytest.fixture(scope="module")
def copy(store: Store, server: RunningSandbox) -> Target:
    target = Target(server.url, server.api_key, "e2e", "certified")
    assert migrate(store.uri, target).exit_status == 0
    return target


@pytest.fixture
def spoiler(data_dir: Path, tmp_path: Path) -> Iterator[Spoiler]:
    spoiler = Spoiler(data_dir)
    with spoiler.spoiling(tmp_path / "blobs"):
        yield spoiler


class Commands:
    """The command line, in this process, because starting one takes longer than most verifications."""

    def __init__(self, capsys: pytest.CaptureFixture[str], store: Store, copy: Target, state: Path) -> None:
        self._capsys = capsys
        self._sides = (f"mlflow:{store.uri}", copy.uri)
        self._state = ("--state-dir", str(state))

    def run(self, *arguments: str) -> Outcome:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["engine", *arguments])
            try:
                main()
                status: Any = 0
            except SystemExit as ended:
                status = ended.code
        said = self._capsys.readouterr()
        return Outcome(int(status or 0), said.out, said.err)

    def verify(self, *arguments: str) -> Outcome:
        return self.run("verify", *self._sides, *self._state, *arguments)

    def migrate(self, store: Store, target: Target, *arguments: str) -> Outcome:
        return self.run("migrate", f"mlflow:{store.uri}", target.uri, *self._state, *arguments)


@pytest.fixture
def engine(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    store: Store,
    copy: Target,
    tmp_path: Path,
) -> Commands:
    monkeypatch.setenv("WANDB_API_KEY", copy.api_key)
    monkeypatch.setenv("COLUMNS", "200")
    return Commands(capsys, store, copy, tmp_path / "state")


# -- engine verify ---------------------------------------------------------------------------------


def test_no_difference_is_told_and_certified(
    engine: Commands, store: Store, copy: Target, tmp_path: Path
) -> None:
    path = tmp_path / "proof.json"
    outcome = engine.verify("--deep", "--certificate", str(path))
    assert outcome.status == 0, outcome.text
    assert "verified (deep): no differences in 3 runs" in outcome.text
    told = json.loads(path.read_bytes())
    assert (told["format"], told["version"], told["level"]) == ("transfer-engine certificate", 1, "deep")
    assert told["source"]["uri"] == f"mlflow:{store.uri}"
    assert told["difference_count"] == 0
    assert told["counts"]["points"] == 25
    assert told["declared"]["steps_resequenced"]["count"] == 5
    assert {run["run"] for run in told["runs"]} == set(store.runs.values())
    assert copy.api_key not in path.read_text()


def test_a_difference_is_told_and_makes_the_status_1(
    engine: Commands, store: Store, copy: Target, spoiler: Spoiler
) -> None:
    spoiler.row(store.runs["plain"], 7, set_to(m=1.0))
    outcome = engine.verify()
    assert outcome.status == 1
    assert f"differs run {store.runs['plain']} (plain): metric 'm'" in outcome.text
    assert "step 7: 2.3333333333333335 expected, 1.0 found" in outcome.text
    assert "1 difference (full)" in outcome.text


def test_for_programs_each_difference_is_an_event(
    engine: Commands, store: Store, copy: Target, spoiler: Spoiler
) -> None:
    spoiler.field(store.runs["plain"], "notes", "spoilt")
    outcome = engine.verify("--json", "--level", "counts")
    (difference,) = [event for event in outcome.events if event["type"] == "difference"]
    assert (difference["kind"], difference["part"], difference["run"]) == (
        "changed",
        "notes",
        store.runs["plain"],
    )
    last = outcome.events[-1]
    assert (last["type"], last["differences"], last["exit_status"]) == ("verified", 1, 1)


def test_a_whole_number_in_a_history_is_the_same_number(store: Store, copy: Target, spoiler: Spoiler) -> None:
    """Servers write floats that are whole without a point."""
    spoiler.row(store.runs["plain"], 3, set_to(m=1))
    assert verify(store, copy).exit_status == 0


def test_a_run_that_the_source_never_had_is_told(store: Store, copy: Target, spoiler: Spoiler) -> None:
    columns = "project, user, state, created, updated, heartbeat, config"
    spoiler.change(
        f"INSERT INTO runs (name, {columns}) SELECT 'stranger', {columns} FROM runs WHERE name = ?",
        store.runs["plain"],
    )
    (difference,) = verify(store, copy).differences
    assert (difference.kind, difference.part, difference.run) == ("extra", "run", "stranger")


def test_runs_of_others_in_the_same_project_are_none_of_our_business(
    store: Store, copy: Target, spoiler: Spoiler
) -> None:
    columns = "project, user, state, created, updated, heartbeat"
    spoiler.change(
        f"INSERT INTO runs (name, config, {columns}) SELECT 'theirs', '{{}}', {columns} FROM runs "
        "WHERE name = ?",
        store.runs["plain"],
    )
    assert verify(store, copy).exit_status == 0


def test_only_what_is_selected_is_compared(
    engine: Commands, store: Store, copy: Target, spoiler: Spoiler
) -> None:
    spoiler.field(store.runs["plain"], "notes", "spoilt")
    assert engine.verify("--filter", "attributes.run_name = 'files'").status == 0
    assert engine.verify("--filter", "attributes.run_name = 'plain'").status == 1


def test_what_cannot_be_a_verification_is_refused(
    engine: Commands, store: Store, copy: Target, tmp_path: Path
) -> None:
    nothing = engine.run("verify")
    assert nothing.status == 2
    assert "name SOURCE and DESTINATION" in nothing.text
    nowhere = engine.verify("--certificate", "/proc/proof.json")
    assert nowhere.status == 2
    assert "cannot be written" in nowhere.text


# -- certificates ----------------------------------------------------------------------------------


@pytest.fixture
def certificate(engine: Commands, store: Store, copy: Target, tmp_path: Path) -> Path:
    path = tmp_path / "proof.json"
    assert engine.verify("--certificate", str(path)).status == 0
    return path


def test_a_certificate_holds_as_long_as_nothing_changes(
    engine: Commands, certificate: Path, copy: Target
) -> None:
    outcome = engine.run("verify", "--certificate", str(certificate))
    assert outcome.status == 0, outcome.text
    assert "no differences in 3 runs" in outcome.text


def test_what_changed_since_a_certificate_is_found_without_the_source(
    engine: Commands, certificate: Path, store: Store, copy: Target, spoiler: Spoiler
) -> None:
    spoiler.row(store.runs["plain"], 7, set_to(m=1.0))
    spoiler.manifest(store.runs["files"], lambda entries: entries.clear())
    spoiler.change("DELETE FROM runs WHERE name = ?", store.runs["steps"])
    outcome = engine.run("verify", "--certificate", str(certificate))
    assert outcome.status == 1
    assert f"run {store.runs['plain']}: its history is not what it was" in outcome.text
    assert f"run {store.runs['files']}: its artifacts are not what they were" in outcome.text
    assert f"run {store.runs['steps']}: is missing in e2e/certified" in outcome.text
    assert "3 differences" in outcome.text


def test_a_certificate_that_was_changed_is_worth_nothing(
    engine: Commands, certificate: Path, copy: Target
) -> None:
    told = json.loads(certificate.read_bytes())
    told["runs"][0]["parts"]["history"] = "0" * 64
    certificate.write_text(json.dumps(told))
    outcome = engine.run("verify", "--certificate", str(certificate))
    assert outcome.status == 2
    assert "was changed after it was written" in outcome.text


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": "transfer-engine certificate", "version": 9}'])
def test_what_is_no_certificate_is_refused(engine: Commands, copy: Target, tmp_path: Path, text: str) -> None:
    path = tmp_path / "proof.json"
    path.write_text(text)
    assert engine.run("verify", "--certificate", str(path)).status == 2


# -- engine migrate --------------------------------------------------------------------------------


def test_a_migration_is_verified_and_certified(
    engine: Commands, store: Store, server: RunningSandbox, tmp_path: Path
) -> None:
    target = Target(server.url, server.api_key, "e2e", "verified-at-once")
    outcome = engine.migrate(store, target, "--verify", "full")
    assert outcome.status == 0, outcome.text
    assert "verified (full): no differences in 3 runs" in outcome.text
    told: dict[str, Any] = json.loads((tmp_path / "state" / "certificate.json").read_bytes())
    assert told["told_by_transfer"]["steps_resequenced"]["count"] == 5
    again = engine.migrate(store, target, "--verify", "full")
    assert "Nothing changed since the last time" in again.text
    assert "no differences in 3 runs" in again.text


def test_runs_that_did_not_arrive_are_not_verified_and_no_differences(
    engine: Commands, stores: Path, server: RunningSandbox
) -> None:
    store = sqlite_store(stores / "unreachable")
    sql = Sql(store)
    experiment = sql.experiment("x")
    sql.run(experiment, "fine")
    failed = sql.run(experiment, "failed", artifact_uri="s3://nowhere/at/all")
    target = Target(server.url, server.api_key, "e2e", "failing")
    outcome = engine.migrate(store, target, "--verify", "full")
    assert outcome.status == 1
    assert f"artifacts of run {failed}" in outcome.text
    assert "not verified what did not arrive: 1 item, as told above" in outcome.text
    assert outcome.text.count("s3://nowhere/at/all") == 2, "while it runs, and in the summary"
    assert "no differences in 1 run, 1 not verified" in outcome.text


def test_a_certificate_that_cannot_be_written_is_told_before_anything_is_moved(
    engine: Commands, store: Store, server: RunningSandbox
) -> None:
    target = Target(server.url, server.api_key, "e2e", "never-begun")
    outcome = engine.migrate(store, target, "--verify", "full", "--certificate", "/proc/proof.json")
    assert outcome.status == 2
    assert "cannot be written" in outcome.text
    assert "runs arrived" not in outcome.text


def test_strict_refuses_a_change_unless_it_is_accepted(
    engine: Commands, store: Store, server: RunningSandbox
) -> None:
    target = Target(server.url, server.api_key, "e2e", "strict")
    strict = engine.migrate(store, target, "--strict", "--verify", "none")
    assert strict.status == 1
    assert "strict steps_resequenced × 5" in strict.text
    assert "--accept steps_resequenced" in strict.text
    # The second time nothing is moved, and the runs themselves tell what was changed the first time.
    assert engine.migrate(store, target, "--strict", "--verify", "counts").status == 1
    accepted = ("--strict", "--accept", "steps_resequenced")
    assert engine.migrate(store, target, *accepted, "--verify", "full").status == 0


def test_a_kind_that_does_not_exist_is_refused_before_anything_is_moved(
    engine: Commands, store: Store, server: RunningSandbox
) -> None:
    target = Target(server.url, server.api_key, "e2e", "never-begun")
    outcome = engine.migrate(store, target, "--strict", "--accept", "step_resequenced")
    assert outcome.status == 2
    assert "did you mean steps_resequenced" in outcome.text
    assert "runs arrived" not in outcome.text


def test_where_there_is_nothing_nothing_is_certified(
    engine: Commands, store: Store, server: RunningSandbox, tmp_path: Path
) -> None:
    target = Target(server.url, server.api_key, "e2e", "nothing")
    chosen = ("--filter", "attributes.run_id = 'nosuch'", "--certificate", str(tmp_path / "proof.json"))
    outcome = engine.migrate(store, target, "--verify", "full", *chosen)
    assert outcome.status == 0, outcome.text
    assert "there is no certificate" in outcome.text
    assert not (tmp_path / "proof.json").exists()


def test_an_interruption_between_transfer_and_verification_is_told(
    engine: Commands, store: Store, server: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(*_given: object, **_named: object) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        await anyio.sleep(60)
        return 0

    monkeypatch.setattr(Afterwards, "follow", interrupted)
    outcome = engine.migrate(store, Target(server.url, server.api_key, "e2e", "between"))
    assert outcome.status == 130
    assert "interrupted: what arrived stays, and is not verified" in outcome.text


# -- what is hard to move --------------------------------------------------------------------------


def test_a_copy_of_a_hostile_store_has_no_differences(stores: Path, server: RunningSandbox) -> None:
    store = hostile.hostile_store(stores / "hostile-verified")
    target = Target(server.url, server.api_key, "e2e")
    moved = migrate(store.uri, target, include_deleted=True)
    failed = {failure.run: failure.message for failure in moved.failures if failure.run}
    findings = verify(store, target, Level.DEEP, failed=failed)
    assert [str(difference) for difference in findings.differences] == []
    live = {item.run for item in findings.not_verified if "it goes on at the source" in item.reason}
    assert len(live) == 1
    assert {item.run for item in findings.not_verified} - live == set(failed)
    assert findings.counts.runs == len(store.runs) - len(failed) - len(live)
    assert findings.counts.points > 6_000
    assert dict(findings.declared.counts) == dict(moved.losses)


def test_a_long_history_in_any_order_has_no_differences_but_those_it_has(
    stores: Path, server: RunningSandbox, spoiler: Spoiler
) -> None:
    store = hostile.long_run_store(stores / "long-verified", keys=20, steps=5_000)
    target = Target(server.url, server.api_key, "e2e", "long")
    migrate(store.uri, target)
    findings = verify(store, target)
    assert (findings.exit_status, findings.counts.points) == (0, 100_000)
    spoiler.row(store.runs["H8-long"], 4_321, set_to(m0007=0.5))
    (difference,) = verify(store, target).differences
    assert "metric 'm0007'" in difference.detail
    assert "step 4321: 4321.007 expected, 0.5 found" in difference.detail
