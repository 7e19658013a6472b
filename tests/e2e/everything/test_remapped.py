"""Everything goes to other places and under other names, and is equal under the mapping."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.sandbox import Account
from tests.e2e.everything import renaming
from tests.e2e.everything.copies import SOURCE_KEY, silence
from tests.e2e.everything.reading import Place
from tests.e2e.everything.renaming import HOME, MAPPING, PLACES, REMAPS, SECOND
from tests.e2e.everything.sdk_world import ENTITY, LINEAGE, MEDIA, PROJECTS, REPORTED, TRAINED
from tests.e2e.transfers import Outcome, command
from tests.servers import RunningSandbox, running_sandbox

CHANGED = (
    "custom_chart_left",
    "digest_changed",
    "producer_missing",
    "report_reference_unresolved",
    "sweep_finished",
)
"""What changes without a mapping, too."""


@dataclass(frozen=True)
class Mapped:
    """Everything on its way to its new names."""

    source: RunningSandbox
    target: RunningSandbox
    directory: Path

    def migrate(self, *options: str) -> tuple[Outcome, int]:
        """The outcome, and how many requests wrote something."""
        target = self.target
        before = target.counters().get("writes", 0)
        names = self.directory / "names.yaml"
        names.write_text(MAPPING)
        outcome = command(
            "migrate",
            f"wandb:{self.source.url}/{ENTITY}",
            f"wandb:{target.url}/{HOME}",
            *("--source-api-key-env", SOURCE_KEY, "--state-dir", str(self.directory / "state"), "--json"),
            *("--map", str(names), *(word for remap in REMAPS for word in ("--remap", remap))),
            *options,
            environ={SOURCE_KEY: self.source.api_key, "WANDB_API_KEY": target.api_key},
        )
        return outcome, target.counters()["writes"] - before

    @property
    def there(self) -> Place:
        return Place(self.source, ENTITY)

    def here(self, project: str) -> tuple[Place, str]:
        """Where a project of the source is."""
        entity, name = PLACES[project]
        return Place(self.target, entity), name

    def has_equal_runs(self, project: str) -> None:
        place, name = self.here(project)
        expected, found = self.there.runs(project), place.runs(name)
        assert found.keys() == expected.keys()
        for run_id, run in expected.items():
            told = renaming.without_digests(found[run_id])
            for part, wanted in renaming.run(run).items():
                assert told[part] == wanted, f"{part} of run {run_id}"

    def has_equal_collections(self, project: str) -> None:
        place, name = self.here(project)
        assert place.collections(name) == renaming.collections(self.there.collections(project))


@pytest.fixture(scope="module")
def mapped(source: RunningSandbox, tmp_path_factory: pytest.TempPathFactory) -> Generator[Mapped]:
    directory = tmp_path_factory.mktemp("mapped")
    # Rows speak of versions by ids that are those of a whole server, so that no other copy may be there.
    with running_sandbox(directory / "server", accounts=[Account(HOME, teams=(SECOND,))]) as target:
        mapped = Mapped(source, target, directory)
        accepted = [word for kind in CHANGED for word in ("--accept", kind)]
        outcome, writes = mapped.migrate("--verify", "full", "--strict", *accepted)
        assert outcome.status == 0, outcome.text
        assert writes > 0
        silence(target)
        yield mapped


def test_media_tables_lineage_links_and_views_go_by_their_new_names(mapped: Mapped) -> None:
    for project in (MEDIA, TRAINED):
        mapped.has_equal_runs(project)
    mapped.has_equal_collections(LINEAGE)
    place, name = mapped.here(MEDIA)
    assert place.links(name) == renaming.links(mapped.there.links(MEDIA)) != {}
    place, name = mapped.here(REPORTED)
    assert place.saved_views(name) == renaming.spec(mapped.there.saved_views(REPORTED)) != {}


@pytest.mark.slow
def test_again_and_once_more_nothing_is_written(mapped: Mapped) -> None:
    again = [mapped.migrate() for _ in range(2)]
    assert [(outcome.status, writes) for outcome, writes in again] == [(0, 0), (0, 0)]


@pytest.mark.slow
@pytest.mark.parametrize("project", PROJECTS)
def test_so_do_all_runs_and_collections(mapped: Mapped, project: str) -> None:
    mapped.has_equal_runs(project)
    mapped.has_equal_collections(project)


@pytest.mark.slow
def test_so_do_reports_and_sweeps(mapped: Mapped) -> None:
    place, name = mapped.here(REPORTED)
    expected, found = renaming.reports(mapped.there.reports()), place.reports(name)
    assert found["sweeps"] == expected["sweeps"] != {}
    for title, report in expected["reports"].items():
        for number, block in enumerate(report["blocks"]):
            assert found["reports"][title]["blocks"][number] == block, f"block {number} of {title}"
    assert found == expected
