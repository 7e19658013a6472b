"""The artifact versions that a run logged: which of one side is which of the other, and how they differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

from engine.records import Artifact, ArtifactEntry
from engine.verify.audit import Audit
from engine.verify.contents import leaves
from engine.verify.merkle import root_of
from engine.verify.values import canonical

Collection: TypeAlias = tuple[str, str]
"""Type and name."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A version of the source and what it is at the destination; one of them may be missing."""

    expected: Artifact | None
    found: Artifact | None
    is_superseded: bool = False
    """An earlier transfer brought what was found, before it changed at the source."""


def matched(audit: Audit, expected: Sequence[Artifact], found: Sequence[Artifact]) -> list[Pair]:
    """Find the versions of one run again.

    A version with a number is found by the number that it had, or else, as a destination may keep one version
    for the same content, by its digest. One without a number is the last of its collection: those before it
    are what earlier transfers brought.
    """
    there: dict[Collection, list[Artifact]] = defaultdict(list)
    for artifact in sorted(found, key=lambda one: one.version or 0):
        there[artifact.type, artifact.name].append(artifact)
    pairs, superseded = [], set[Collection]()
    for artifact in expected:
        collection = audit.artifact_name(artifact)
        pairs.append(Pair(artifact, _match(audit, artifact, there[collection])))
        if artifact.version is None:
            superseded.add(collection)
    paired = {id(pair.found) for pair in pairs}
    return pairs + [
        Pair(None, left, collection in superseded)
        for collection, group in there.items()
        for left in group
        if id(left) not in paired
    ]


def _match(audit: Audit, artifact: Artifact, candidates: Sequence[Artifact]) -> Artifact | None:
    if artifact.version is None:
        return candidates[-1] if candidates else None
    for candidate in candidates:
        if audit.origin(candidate) == artifact.version:
            return candidate
    same = (one for one in candidates if artifact.digest is not None and one.digest == artifact.digest)
    return next(same, None)


@dataclass(slots=True)
class VersionOrder:
    """Whether the versions of each collection are in the order that they had, whichever runs made them."""

    _numbers: dict[tuple[str, Collection], list[tuple[int, int]]] = field(default_factory=dict)

    def add(self, namespace: str, collection: Collection, origin: int | None, number: int | None) -> None:
        if origin is not None and number is not None:
            self._numbers.setdefault((namespace, collection), []).append((origin, number))

    def disordered(self) -> Iterator[tuple[str, str]]:
        """Collections that are not, and their first two versions that show it."""
        for (namespace, (_, name)), numbers in sorted(self._numbers.items()):
            ordered = sorted(numbers)
            for (before, earlier), (after, later) in pairwise(ordered):
                if later < earlier:
                    yield (
                        f"artifact {name} of {namespace}",
                        f"v{before} became v{earlier}, but the later v{after} became v{later}",
                    )
                    break


def artifact_root(audit: Audit, artifact: Artifact, entries: Mapping[str, ArtifactEntry] | None) -> str:
    """The hash of a version and, where they were read, its entries."""
    facts = audit.found_artifact(artifact)
    texts = [canonical(["artifact", artifact.type, artifact.name, artifact.version, artifact.digest])]
    texts += [canonical([*fact, value]) for fact, value in facts.items()]
    return root_of([*texts, *(leaves(entries) if entries is not None else ())])
