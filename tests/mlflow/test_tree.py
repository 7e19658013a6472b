"""Nested runs are found together, however broken the tree is."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from engine.mlflow import tree as tree_module
from engine.mlflow.store import PARENT_RUN_ID, Kin, RawRun
from engine.mlflow.tree import RunTree

pytestmark = pytest.mark.anyio


class Family:
    """Runs by id with their parents; a run is named after its id, in capitals."""

    def __init__(self, **parents: str | None) -> None:
        self.parents = parents
        self.asked: list[str] = []

    async def kin(self, run_ids: Collection[str]) -> Mapping[str, Kin]:
        self.asked += run_ids
        return {each: Kin(each.upper(), self.parents[each]) for each in run_ids if each in self.parents}

    async def groups(self, *run_ids: str) -> list[str | None]:
        tree = RunTree(self)  # type: ignore[arg-type]
        named = {parent for parent in self.parents.values() if parent}
        return [
            await tree.group_of(
                RawRun(
                    id=each,
                    experiment_id="1",
                    name=each.upper(),
                    tags={PARENT_RUN_ID: parent} if (parent := self.parents[each]) else {},
                ),
                named,
            )
            for each in run_ids
        ]


async def test_a_run_alone_has_no_group():
    assert await Family(a=None).groups("a") == [None]


async def test_a_family_goes_by_the_name_of_its_root_whoever_comes_first():
    family = Family(root=None, child="root", grandchild="child")
    assert await family.groups("grandchild", "root", "child") == ["ROOT"] * 3


async def test_children_of_a_missing_parent_stay_together():
    assert await Family(a="gone", b="gone", c="b").groups("a", "b", "c") == ["gone"] * 3


async def test_a_circle_has_one_group():
    family = Family(b="c", c="a", a="b", outside="c", own="own")
    assert await family.groups("a", "b", "c", "outside", "own") == ["A", "A", "A", "A", "OWN"]


async def test_what_was_listed_is_not_asked_for_again():
    family = Family(root=None, **{f"c{n}": "root" for n in range(100)})
    assert set(await family.groups("root", *(f"c{n}" for n in range(100)))) == {"ROOT"}
    assert family.asked == []


async def test_it_remembers_only_so_many(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tree_module, "REMEMBERED", 2)
    family = Family(root=None, **{f"d{n}": f"d{n - 1}" if n else "root" for n in range(50)})
    assert set(await family.groups(*(f"d{n}" for n in reversed(range(50))))) == {"ROOT"}
