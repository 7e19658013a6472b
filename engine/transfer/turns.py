"""What one engine at a time does, of those that share a transfer."""

from __future__ import annotations

import anyio

from engine.transfer.ledger.journal import Journal
from engine.transfer.ledger.leases import Claim


async def turn(journal: Journal, project: str, what: str, drain: anyio.Event) -> Claim | None:
    """Wait while another engine has it in hand; of one that is gone it is taken over.

    Args:
        project, what: of ``Journal.claim_whole``.

    Returns:
        ``MINE``, or ``TRIED`` if another engine did it; None if it was not to be waited for any longer.
    """
    while (claim := await journal.claim_whole(project, what)) is Claim.ELSEWHERE:
        if drain.is_set():
            return None
        await journal.wait_for_others(what)
    return claim
