"""What is compared with what, how closely, and where findings go."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field

from engine.errors import AuthError, ConfigError, EngineError, Outage
from engine.protocols import Source
from engine.records import Artifact, ArtifactEntry, Run, RunFile
from engine.transfer.context import Context
from engine.verify.artifacts import VersionOrder
from engine.verify.audit import Audit
from engine.verify.findings import Difference, Findings, Level, NotVerified
from engine.verify.values import Facts, differing_facts

logger = logging.getLogger(__name__)


def is_fatal(error: EngineError) -> bool:
    """Whether nothing further can be read."""
    return isinstance(error, Outage | ConfigError) or (isinstance(error, AuthError) and error.status == 401)


@dataclass(slots=True, kw_only=True)
class Scope:
    """One verification.

    Attributes:
        parts: which of ``history``, ``files`` and ``artifacts`` are looked at.
        artifacts_of: lists those artifacts of a run that are compared with it; None if there are none.
        by_collection: whether all others are compared by their collections, as they were moved.
        order: of the versions of artifacts, over all runs.
    """

    source: Source
    audit: Audit
    context: Context
    level: Level
    parts: frozenset[str]
    findings: Findings
    artifacts_of: Callable[[Run], AsyncGenerator[Artifact]] | None
    by_collection: bool = False
    order: VersionOrder = field(default_factory=VersionOrder)

    def differ(self, kind: str, part: str, detail: str, subject: str, run: str | None = None) -> None:
        self.findings.differ(Difference(kind=kind, part=part, subject=subject, detail=detail, run=run))

    def compare_facts(self, expected: Facts, found: Facts, subject: str, run: str | None = None) -> None:
        """Tell of each fact that is not as expected."""
        self.findings.counts.facts += len(expected)
        for kind, part, detail in differing_facts(expected, found):
            self.differ(kind, part, detail, subject, run)

    def unread(
        self, subject: str, error: Exception, run: str | None = None, *, expected: bool = False
    ) -> None:
        """What could not be read is not verified, and the rest goes on.

        Raises:
            EngineError: nothing further can be read.
        """
        if isinstance(error, EngineError):
            if is_fatal(error):
                raise error
        else:
            logger.error("unexpected error at %s", subject, exc_info=error)
        reason = str(error) if isinstance(error, EngineError) else f"unexpected {error!r}"
        self.leave_out(subject, reason, run, expected=expected)

    def leave_out(self, subject: str, reason: str, run: str | None = None, *, expected: bool = False) -> None:
        self.findings.leave_out(NotVerified(subject=subject, reason=reason, run=run, expected=expected))

    def lose_refused(self, subject: str, what: str, refused: Iterable[RunFile | ArtifactEntry]) -> None:
        for blob in refused:
            self.context.lose("path_refused", subject, f"{what} {blob.path!r}")
