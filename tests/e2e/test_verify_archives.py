"""In archives, too, verification finds what is wrong in sweeps, reports and saved views."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import pytest

from engine import Engine, Options, open_destination, open_source
from engine.protocols import SystemOptions
from engine.sandbox import Account
from engine.transfer.options import Result
from engine.verify.certificate import Certificate, certificate
from engine.verify.findings import Findings, Level
from engine.verify.recheck import Recheck
from engine.verify.verifier import Verifier, VerifyOptions
from tests.e2e.copied import PROJECT, Writer
from tests.e2e.test_report_files import PICTURES, pages
from tests.servers import RunningSandbox, running_sandbox

ENTITY = "ann"
(PICTURE, _) = PICTURES
_VIEW = "mutation ($input: UpsertViewInput!) { upsertView(input: $input) { view { id } } }"


@dataclass(frozen=True)
class Archived:
    """A project in an archive, and the server that it came from."""

    server: RunningSandbox
    root: Path

    def _sides(self, root: Path) -> tuple[Any, Any]:
        key = SystemOptions(api_key=self.server.api_key)
        return open_source(f"wandb:{self.server.url}/{ENTITY}/{PROJECT}", key), open_destination(
            f"archive:{root}"
        )

    def move(self, **options: Any) -> Result:
        async def run() -> Result:
            async with Engine(*self._sides(self.root), Options(**options)) as engine:
                return await engine.run()

        return anyio.run(run)

    def verify(self, root: Path | None = None, level: Level = Level.FULL, **options: Any) -> Findings:
        asked = VerifyOptions(level=level, **options)
        return anyio.run(Verifier(*self._sides(root or self.root), asked).run)

    def certify(self, path: Path) -> None:
        with certificate(path) as writer:
            writer.write(anyio.run(Verifier(*self._sides(self.root), record=writer).run))

    def recheck(self, root: Path, path: Path) -> Findings:
        _, target = self._sides(root)
        return anyio.run(Recheck(Certificate.read(path), target, VerifyOptions()).run)


def fill(server: RunningSandbox) -> None:
    Writer(server, ENTITY).fill()

    def view(kind: str, name: str, spec: Any, **more: Any) -> str:
        given = {"entityName": ENTITY, "projectName": PROJECT, "type": kind, "name": name, **more}
        made = server.graphql(_VIEW, input={**given, "spec": json.dumps(spec)})
        return str(made["upsertView"]["view"]["id"])

    picture = {"type": "image", "url": f"{server.url}{PICTURE}"}
    gone = {"type": "image", "url": f"{server.url}{PICTURE}-gone"}
    address = {"type": "link", "url": f"{server.url}/{ENTITY}/{PROJECT}/runs/maker"}
    drawn = view("runs", "drawn", {"version": 5, "blocks": [picture, gone, address]}, displayName="Drawn")
    view("runs/draft", "draft", {"version": 5, "blocks": []}, displayName="Draft", parentId=drawn)
    view("project-view", "kept", {"section": {"panels": []}}, displayName="Kept")


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Generator[Archived]:
    directory = tmp_path_factory.mktemp("archived")
    with running_sandbox(directory / "a", accounts=[Account(ENTITY)], intercept=pages) as server:
        fill(server)
        archived = Archived(server, directory / "archive")
        result = archived.move()
        assert result.failures == []
        assert result.losses["report_file_missing"] == 1
        yield archived


def told(findings: Findings) -> list[str]:
    return [f"{one.kind} {one.part} {one}" for one in findings.differences]


@pytest.mark.parametrize("level", Level)
def test_a_clean_archive_has_no_differences(archived: Archived, level: Level) -> None:
    findings = archived.verify(level=level)
    assert told(findings) == []
    assert findings.not_verified == []
    assert (findings.counts.sweeps, findings.counts.reports) == (1, 5)
    assert findings.declared.counts["report_file_missing"] == 1, "one that the source has no more"


def test_nor_has_one_in_which_the_project_has_another_name(archived: Archived, tmp_path: Path) -> None:
    renamed = Archived(archived.server, tmp_path / "archive")
    remap = {PROJECT: "renamed"}
    assert renamed.move(remap=remap).failures == []
    assert told(renamed.verify(level=Level.DEEP, remap=remap)) == []
    views = [json.loads(path.read_bytes())["view"] for path in renamed.root.rglob("views/*.json")]
    (drawn,) = [view for view in views if view["name"] == "drawn"]
    assert drawn["spec"]["blocks"][2]["url"].endswith("/renamed/runs/maker")


Case: TypeAlias = tuple[Callable[[Path], object], tuple[str, ...]]


def records(root: Path, kind: str) -> dict[str, Path]:
    """By their titles, or their names."""
    found = {}
    for path in root.rglob(f"{kind}s/*.json"):
        told = json.loads(path.read_bytes())[kind]
        found[told.get("title") or told["name"]] = path
    return found


def gone(kind: str, name: str) -> Callable[[Path], object]:
    return lambda root: records(root, kind)[name].unlink()


def edited(kind: str, name: str, edit: Callable[[Any], object]) -> Callable[[Path], object]:
    def plant(root: Path) -> None:
        path = records(root, kind)[name]
        record = json.loads(path.read_bytes())
        edit(record[kind])
        path.write_text(json.dumps(record))

    return plant


def sweep_says(**said: Any) -> Callable[[Path], object]:
    return edited("sweep", "a search", lambda sweep: sweep.update(said))


def view_says(name: str, **said: Any) -> Callable[[Path], object]:
    return edited("view", name, lambda view: view.update(said))


def block_edited(name: str, edit: Callable[[Any], object]) -> Callable[[Path], object]:
    return edited("view", name, lambda view: edit(view["spec"]["blocks"]))


PLANTED: dict[str, Case] = {
    "a sweep": (gone("sweep", "a search"), ("missing sweep", "is missing in ann/copied")),
    "the config of a sweep": (
        sweep_says(config="method: random\n"),
        ("changed config", "sweep ann/copied/", "method: random"),
    ),
    "the state of a sweep": (sweep_says(state="FINISHED"), ("changed state", '"FINISHED" found')),
    "the name of a sweep": (sweep_says(name="x"), ("changed name", '"x" found')),
    "what is said of a sweep": (sweep_says(description=None), ("changed description", "null found")),
    "who made a sweep": (sweep_says(user="eve"), ("changed user", '"eve" found')),
    "when a sweep was made": (sweep_says(created_at=1), ("changed created_at", "1 found")),
    "a report": (
        gone("view", "Findings"),
        ("missing report", "report ann/copied/Findings: is missing in ann/copied"),
    ),
    "a draft": (gone("view", "Draft"), ("missing report", "draft ann/copied/Draft: is missing")),
    "a saved view": (gone("view", "Kept"), ("missing report", "saved view ann/copied/Kept: is missing")),
    "the title of a report": (
        view_says("Findings", title="x"),
        ("changed title", '"Findings" expected, "x" found'),
    ),
    "who made a report": (view_says("Findings", user="eve"), ("changed user", '"eve" found')),
    "when a report was changed": (view_says("Findings", updated_at=1), ("changed updated_at", "1 found")),
    "the report of a draft": (view_says("Draft", parent_id=None), ("changed parent_id", "null found")),
    "a draft that became a report": (view_says("Draft", kind="runs"), ("changed kind", '"runs" found')),
    "what a saved view shows": (
        edited("view", "Kept", lambda view: view["spec"]["section"].update(panels=[{"x": 1}])),
        ("extra report", "section.panels: 0 expected, 1 found"),
    ),
    "a text in a block": (
        block_edited("Findings", lambda blocks: blocks[0]["children"][0].update(text="What we lost")),
        ("changed report", 'blocks[0].children[0].text: "What we found" expected, "What we lost" found'),
    ),
    "a block that is gone": (
        block_edited("Findings", lambda blocks: blocks.pop()),
        ("missing report", "blocks: 2 expected, 1 found"),
    ),
    "where a report points": (
        block_edited("Drawn", lambda blocks: blocks[2].update(url="http://old/ann")),
        ("changed report", "blocks[2].url", '"http://old/ann" found'),
    ),
    "a version that a report names": (
        view_says("Findings", artifacts={"wandb-artifact://00": "wandb-artifact://ann/copied/ds:v0"}),
        ("extra artifact", "artifact 'wandb-artifact://00'"),
    ),
    "a picture in a report": (
        view_says("Drawn", files={}),
        ("missing report", "report ann/copied/Drawn: file http", "is missing"),
    ),
}


def planted(archived: Archived, tmp_path: Path, case: Case, level: Level) -> Findings:
    plant, words = case
    root = tmp_path / "spoilt"
    shutil.copytree(archived.root, root)
    plant(root)
    findings = archived.verify(root, level)
    assert [one for one in told(findings) if all(word in one for word in words)], told(findings)
    assert len(told(findings)) == 1
    assert findings.exit_status == 1
    return findings


@pytest.mark.parametrize("name", PLANTED)
def test_what_was_planted_is_found(archived: Archived, tmp_path: Path, name: str) -> None:
    planted(archived, tmp_path, PLANTED[name], Level.COUNTS)


def test_other_bytes_of_a_picture_are_found_by_reading_them(archived: Archived, tmp_path: Path) -> None:
    def plant(root: Path) -> None:
        record = json.loads(records(root, "view")["Drawn"].read_bytes())
        (digest,) = record["view"]["files"].values()
        (blob,) = root.rglob(digest)
        blob.chmod(0o644)
        blob.write_bytes(bytes(reversed(blob.read_bytes())))

    case: Case = plant, ("changed report", "Drawn: file http", "cannot be read whole")
    planted(archived, tmp_path, case, Level.DEEP)


def test_a_record_that_cannot_be_read_is_told_and_the_others_are_compared(
    archived: Archived, tmp_path: Path
) -> None:
    root = tmp_path / "spoilt"
    shutil.copytree(archived.root, root)
    gone("view", "Kept")(root)
    records(root, "view")["Appendix"].write_text("{")
    findings = archived.verify(root)
    # What is not among those that can be read may be among the others.
    assert [(one.subject, "damaged" in one.reason) for one in findings.not_verified] == [
        ("report ann/copied/Appendix", True),
        ("saved view ann/copied/Kept", True),
    ]
    assert told(findings) == []
    assert findings.counts.reports == 5
    assert findings.exit_status == 1


@pytest.mark.parametrize("name", ["a sweep", "the state of a sweep", "who made a report", "a saved view"])
def test_a_certificate_finds_them_without_the_source(archived: Archived, tmp_path: Path, name: str) -> None:
    proof, root = tmp_path / "proof.json", tmp_path / "spoilt"
    archived.certify(proof)
    shutil.copytree(archived.root, root)
    assert archived.recheck(root, proof).exit_status == 0
    PLANTED[name][0](root)
    (found,) = archived.recheck(root, proof).differences
    assert found.part == ("sweep" if "sweep" in name else "report")
