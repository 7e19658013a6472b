"""Before a run is opened: what of it need not be moved."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, replace

from engine.fingerprints import ContentFingerprint
from engine.protocols import Source
from engine.records import Namespace, Run
from engine.transfer.ledger.journal import artifact_key
from engine.transfer.ledger.old_ledgers import Inheritance
from engine.transfer.ledger.proofs import Known


@dataclass(frozen=True, slots=True)
class Checks:
    """Looks where the ledger alone does not tell.

    Args:
        recheck: look at the artifacts of runs that are proven, too.
        inheritance: what is known from before this engine.
    """

    source: Source
    recheck: bool = False
    inheritance: Inheritance | None = None

    async def of(self, run: Run, place: Namespace, known: Known) -> Known:
        """What need not be moved, beginning with what the ledger proves."""
        if self.recheck and (known.complete or known.artifacts):
            known = await self._rechecked(run, known)
        if not known.complete and self.inheritance is not None and await self.inheritance.covers(run, place):
            return replace(known, complete=True)
        return known

    async def _rechecked(self, run: Run, known: Known) -> Known:
        """Without the artifacts that are no longer what they were at the source."""
        same: dict[str, str | None] = {}
        complete = known.complete
        async with aclosing(self.source.artifacts(run)) as artifacts:
            async for artifact in artifacts:
                content = ContentFingerprint(artifact)
                async with aclosing(self.source.entries(artifact)) as entries:
                    async for _ in content.watch(entries):
                        continue
                key = artifact_key(artifact)
                if known.artifacts.get(key) == content.value():
                    same[key] = content.value()
                else:
                    complete = False
        return replace(known, complete=complete, artifacts=same)
