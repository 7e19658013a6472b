"""Between W&B servers, verification also finds what is wrong in whatever belongs to no single run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import pytest

from engine import Options, open_destination, open_source
from engine.protocols import SystemOptions
from engine.verify.certificate import Certificate, certificate
from engine.verify.findings import Findings, Level
from engine.verify.recheck import Recheck
from engine.verify.verifier import Verifier, VerifyOptions
from tests.e2e.copied import PROJECT, Writer, version_of
from tests.e2e.planting import Spoiler
from tests.e2e.wandb_pair import A, B, Pair, running_pair


@dataclass(frozen=True)
class Copied:
    pair: Pair
    spoiler: Spoiler

    def verify(self, level: Level = Level.FULL, certified: Path | None = None, **options: Any) -> Findings:
        a, b = self.pair.source, self.pair.target
        source = open_source(f"wandb:{a.url}/{A}/{PROJECT}", SystemOptions(api_key=a.api_key))
        target = open_destination(f"wandb:{b.url}/{B}/{PROJECT}", SystemOptions(api_key=b.api_key))
        asked = VerifyOptions(level=level, **options)
        if certified is None:
            return anyio.run(Verifier(source, target, asked).run)
        with certificate(certified) as writer:
            findings = anyio.run(Verifier(source, target, asked, record=writer).run)
            writer.write(findings)
        return findings

    def recheck(self, path: Path) -> Findings:
        b = self.pair.target
        target = open_destination(f"wandb:{b.url}/{B}/{PROJECT}", SystemOptions(api_key=b.api_key))
        return anyio.run(Recheck(Certificate.read(path), target, VerifyOptions()).run)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Generator[Copied]:
    with running_pair(tmp_path_factory) as pair:
        Writer(pair.source, A).fill()
        result = pair.move(PROJECT, PROJECT, Options(state_dir=tmp_path_factory.mktemp("state")))
        assert result.failures == []
        yield Copied(pair, Spoiler(pair.target.data_dir))


def told(findings: Findings) -> list[str]:
    return [f"{one.kind} {one.part} {one}" for one in findings.differences]


@pytest.mark.parametrize("level", Level)
def test_a_clean_copy_has_no_differences(copy: Copied, level: Level) -> None:
    findings = copy.verify(level)
    assert told(findings) == []
    assert findings.not_verified == []
    counts = findings.counts
    assert (counts.runs, counts.collections, counts.artifacts) == (2, 3, 3)
    assert (counts.sweeps, counts.reports) == (1, 2)
    assert counts.lines == (0 if level is Level.COUNTS else 6)


def test_what_cannot_be_kept_is_declared(copy: Copied) -> None:
    declared = copy.verify().declared.counts
    assert declared["producer_missing"] == 1, "the version of a run that is gone"
    assert declared["sweep_finished"] == 1


Case: TypeAlias = tuple[Callable[[Spoiler], object], tuple[str, ...]]


def edited_spec(spoiler: Spoiler, title: str, edit: Callable[[Any], object]) -> None:
    spec = json.loads(spoiler.value("SELECT spec FROM views WHERE display_name = ?", title))
    edit(spec)
    spoiler.change("UPDATE views SET spec = ? WHERE display_name = ?", json.dumps(spec), title)


def edited_line(spoiler: Spoiler, stream: str, line: int, edit: Callable[[str], str]) -> None:
    where = (spoiler.number("maker"), stream, line)
    text = spoiler.value("SELECT content FROM lines WHERE run = ? AND stream = ? AND line = ?", *where)
    spoiler.change(
        "UPDATE lines SET content = ? WHERE run = ? AND stream = ? AND line = ?", edit(text), *where
    )


def nudged(text: str) -> str:
    row = json.loads(text)
    return json.dumps({**row, "system.cpu": math.nextafter(row["system.cpu"], 9)})


def of_version(
    column: str, value: Any, collection: str = "ds", number: int = 1
) -> Callable[[Spoiler], object]:
    return lambda s: s.change(
        f"UPDATE artifacts SET {column} = ? WHERE number = ?", value, version_of(s, collection, number)
    )


def of_collection(column: str, value: Any) -> Callable[[Spoiler], object]:
    return lambda s: s.change(f"UPDATE artifact_collections SET {column} = ? WHERE name = 'ds'", value)


def of_sweep(column: str, value: Any) -> Callable[[Spoiler], object]:
    return lambda s: s.change(f"UPDATE sweeps SET {column} = ?", value)


PLANTED: dict[str, Case] = {
    "a used-by edge that is gone": (
        lambda s: s.change("DELETE FROM run_inputs"),
        ("missing used by", "ds:v0", "run reader of bob/copied: this edge is missing"),
    ),
    "a used-by edge that the source does not have": (
        lambda s: s.change("UPDATE run_inputs SET artifact = ?", version_of(s, "ds", 1)),
        ("extra used by", "ds:v1", "run reader of bob/copied: the source has no such edge"),
    ),
    "the name of a use": (
        lambda s: s.change("UPDATE run_inputs SET used_as = ''"),
        ("missing used as", "ds:v0", "run reader of bob/copied as 'the data': this name is missing"),
    ),
    "a name of a use that the source does not have": (
        lambda s: s.change("UPDATE run_inputs SET used_as = 'other'"),
        ("extra used as", "ds:v0", "as 'other': the source has no such name"),
    ),
    "another maker": (
        of_version("run", 2),
        ("changed created by", "ds:v1", "run maker of bob/copied expected, run reader"),
    ),
    "a version that is gone": (
        of_version("state", "DELETED", number=0),
        ("missing artifact", "ds:v0", "is missing in bob/copied"),
    ),
    "a version of a run that is gone": (
        of_version("state", "DELETED", "orphan", 0),
        ("missing artifact", "orphan:v0"),
    ),
    "the time for which a version is kept": (
        of_version("ttl_s", 60),
        ("changed ttl", "ds:v1", "3600 expected, 60 found"),
    ),
    "the step at which a version was logged": (
        of_version("history_step", 7),
        ("changed step", "ds:v1", "1 expected, 7 found"),
    ),
    "a tag of a version": (
        lambda s: s.change("DELETE FROM artifact_tags WHERE name = 'curated'"),
        ("missing tag", "ds:v1", "tag 'curated'"),
    ),
    "the description of a collection": (
        of_collection("description", "x"),
        ("changed description", "artifact ds of ann/copied", '"x" found'),
    ),
    "a collection": (
        of_collection("name", "other"),
        ("missing collection", "artifact ds of ann/copied: is missing in bob/copied"),
    ),
    "a collection under another name": (
        of_collection("name", "other"),
        ("extra collection", "artifact other: is in bob/copied"),
    ),
    "a link": (
        lambda s: s.change(
            "DELETE FROM artifact_memberships WHERE collection = "
            "(SELECT number FROM artifact_collections WHERE name = 'picked')"
        ),
        ("missing link", "portfolio ann/copied/picked: link to ds:v1 is missing"),
    ),
    "an alias of a link": (
        lambda s: s.change("UPDATE artifact_aliases SET alias = 'worst' WHERE alias = 'best'"),
        ("missing alias", "portfolio ann/copied/picked:v0", "alias 'best'"),
    ),
    "a portfolio": (
        lambda s: s.change("UPDATE artifact_collections SET name = 'x' WHERE name = 'picked'"),
        ("missing portfolio", "portfolio ann/copied/picked: is missing in bob/copied"),
    ),
    "a sweep": (
        lambda s: s.change("DELETE FROM sweeps"),
        ("missing sweep", "is missing in bob/copied"),
    ),
    "the config of a sweep": (
        of_sweep("config", "method: random\n"),
        ("changed config", "sweep ann/copied/", "method: random"),
    ),
    "the name of a sweep": (of_sweep("display_name", "x"), ("changed name", '"x" found')),
    "a sweep that an agent could go on with": (
        of_sweep("state", "RUNNING"),
        ("changed state", '"RUNNING" found'),
    ),
    "a run that left its sweep": (
        lambda s: s.field("maker", "sweep", None),
        ("changed sweep", "run maker", "null found"),
    ),
    "a report": (
        lambda s: s.change("DELETE FROM views WHERE display_name = 'Findings'"),
        ("missing report", "report ann/copied/Findings: is missing in bob/copied"),
    ),
    "the title of a report": (
        lambda s: s.change("UPDATE views SET display_name = 'x' WHERE display_name = 'Findings'"),
        ("changed title", "report ann/copied/Findings", '"Findings" expected, "x" found'),
    ),
    "a text in a block": (
        lambda s: edited_spec(
            s, "Findings", lambda spec: spec["blocks"][0]["children"][0].update(text="What we lost")
        ),
        ("changed report", 'blocks[0].children[0].text: "What we found" expected, "What we lost" found'),
    ),
    "a block that is gone": (
        lambda s: edited_spec(s, "Findings", lambda spec: spec["blocks"].pop()),
        ("missing report", "blocks: 2 expected, 1 found"),
    ),
    "a link that points at the source": (
        lambda s: edited_spec(
            s, "Findings", lambda spec: spec["blocks"][1]["children"][1].update(url="http://old/ann")
        ),
        ("changed report", "blocks[1].children[1].url", '"http://old/ann" found'),
    ),
}

LOGS: dict[str, Case] = {
    "one float of the system metrics by its last bit": (
        lambda s: edited_line(s, "events", 1, nudged),
        ("changed system metrics", "number 2: system.cpu 0.25 expected, 0.25000000000000006 found"),
    ),
    "a row of the system metrics that is gone": (
        lambda s: s.change("DELETE FROM lines WHERE stream = 'events' AND line = 2"),
        ("changed system metrics", "3 lines expected, 2 found"),
    ),
    "a console that is gone": (
        lambda s: s.change("DELETE FROM lines WHERE stream = 'console'"),
        ("missing console", "all of its 3 lines are missing"),
    ),
    "a text of the console": (
        lambda s: edited_line(s, "console", 0, lambda text: text.replace("line 0", "line x")),
        ("changed console", 'number 1: text "line 0" expected, "line x" found'),
    ),
    "a time of the console": (
        lambda s: edited_line(s, "console", 0, lambda text: text.replace(":20.", ":59.")),
        ("changed console", "number 1: time"),
    ),
}


def planted(copy: Copied, tmp_path: Path, case: Case, level: Level) -> None:
    plant, words = case
    with copy.spoiler.spoiling(tmp_path / "blobs"):
        plant(copy.spoiler)
        findings = copy.verify(level)
    assert [one for one in told(findings) if all(word in one for word in words)], told(findings)
    assert findings.exit_status == 1


@pytest.mark.parametrize("name", PLANTED)
def test_in_what_belongs_to_no_single_run_is_found(copy: Copied, tmp_path: Path, name: str) -> None:
    planted(copy, tmp_path, PLANTED[name], Level.COUNTS)


@pytest.mark.parametrize("name", LOGS)
def test_in_the_logs_of_a_run_is_found(copy: Copied, tmp_path: Path, name: str) -> None:
    planted(copy, tmp_path, LOGS[name], Level.FULL)


def test_bytes_of_versions_that_no_run_made_are_found_by_reading_them(copy: Copied, tmp_path: Path) -> None:
    with copy.spoiler.spoiling(tmp_path / "blobs"):
        number = version_of(copy.spoiler, "orphan", 0)
        copy.spoiler.replace(copy.spoiler.blob_of(number, "o.txt"), b"of a run that is Gone")
        assert copy.verify(Level.FULL).exit_status == 0, "which believes what the manifest says"
        findings = copy.verify(Level.DEEP)
    assert [(one.kind, one.part) for one in findings.differences] == [("changed", "entry")]


def test_afterwards_the_copy_is_clean_again(copy: Copied) -> None:
    assert told(copy.verify(Level.DEEP)) == []


@pytest.mark.parametrize("name", ["a report", "the config of a sweep", "a tag of a version", "another maker"])
def test_a_certificate_finds_them_without_the_source(copy: Copied, tmp_path: Path, name: str) -> None:
    copy.verify(certified=tmp_path / "proof.json")
    assert copy.recheck(tmp_path / "proof.json").exit_status == 0
    with copy.spoiler.spoiling(tmp_path / "blobs"):
        PLANTED[name][0](copy.spoiler)
        (found,) = copy.recheck(tmp_path / "proof.json").differences
    part = {"a report": "report", "the config of a sweep": "sweep"}.get(name, "version")
    assert found.part == part


def test_what_is_left_out_is_not_compared(copy: Copied, tmp_path: Path) -> None:
    with copy.spoiler.spoiling(tmp_path / "blobs"):
        copy.spoiler.change("DELETE FROM views")
        assert copy.verify(reports=False).exit_status == 0
        copy.spoiler.change("DELETE FROM artifacts")
        parts = frozenset({"history", "files"})
        assert copy.verify(reports=False, parts=parts).exit_status == 0
