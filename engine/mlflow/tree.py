"""Which runs belong together: the tree that ``mlflow.parentRunId`` tags make."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Set as AbstractSet

from engine.mlflow.store import Kin, RawRun, Store

REMEMBERED = 100_000
"""Runs whose place is kept in mind; a parent starts before its children, so that it mostly is."""


class RunTree:
    """Finds the root of nested runs, reading as few runs as possible and never all of them.

    The tree may be broken: a parent may be missing, in another experiment, or a descendant of its own child.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: OrderedDict[str, Kin | None] = OrderedDict()

    async def group_of(self, run: RawRun, parents: AbstractSet[str]) -> str | None:
        """The name, or the id if it has none, of the root of the tree that the run is in.

        Args:
            parents: the ids of all runs that are a parent.

        Returns:
            None if the run is neither nested nor a parent. The id of a missing run if that is where its
            ancestors end, so that the children that it left stay together. In a circle, the smallest id
            stands for the root.
        """
        self._remember(run.id, Kin(run.display_name, run.parent_id))
        if run.parent_id is None and run.id not in parents:
            return None
        path = [run.id]
        while (kin := await self._look_up(path[-1])) is not None and (parent := kin.parent_id) is not None:
            if parent in path:
                root = min(path[path.index(parent) :])
                kin = await self._look_up(root)
                return (kin and kin.name) or root
            path.append(parent)
        return (kin and kin.name) or path[-1]

    async def _look_up(self, run_id: str) -> Kin | None:
        if run_id not in self._known:
            self._remember(run_id, (await self._store.kin([run_id])).get(run_id))
        return self._known[run_id]

    def _remember(self, run_id: str, kin: Kin | None) -> None:
        self._known[run_id] = kin
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
