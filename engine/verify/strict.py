"""``--strict``: changes on the way that nobody accepted are errors.

A value that a destination holds in another form is recorded under a kind: by the transfer, by the
verification, or by an earlier transfer in the run itself. A difference is what no kind explains; it is an
error at any time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from engine.records import Loss
from engine.transfer.options import Result
from engine.verify.findings import Findings

_REMEDIES: Final[Mapping[str, str]] = {
    "artifact_root_absent": "say where the artifacts are with --artifact-root OLD=NEW",
    "project_renamed": "choose the name yourself with --remap OLD=NEW",
    "path_refused": "rename the file at the source",
    "row_too_long": "the destination takes no row that long",
}


@dataclass(frozen=True, slots=True)
class Unaccepted:
    """A kind of change that is an error now.

    Attributes:
        remedy: what to do about it.
    """

    kind: str
    count: int
    example: str
    remedy: str


def unaccepted(result: Result, findings: Findings | None, accepted: Collection[str]) -> list[Unaccepted]:
    """Every kind that was recorded and not accepted, by name."""
    sources: list[tuple[Mapping[str, int], Mapping[str, list[Loss]]]] = [
        (result.losses, result.loss_examples)
    ]
    if findings is not None:
        sources += [(ledger.counts, ledger.examples) for ledger in (findings.declared, findings.told)]
    found: dict[str, Unaccepted] = {}
    for counts, examples in sources:
        for kind, count in counts.items():
            if kind in accepted or (kind in found and found[kind].count >= count):
                continue
            first = examples[kind][0]
            accept = f"accept it with --accept {kind}"
            remedy = f"{_REMEDIES[kind]}, or {accept}" if kind in _REMEDIES else accept
            found[kind] = Unaccepted(kind, count, f"{first.subject}: {first.detail}", remedy)
    return [found[kind] for kind in sorted(found)]
