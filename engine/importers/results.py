"""What an import did, and the error that says that not all of it succeeded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.errors import EngineError
from engine.transfer.events import ItemFailed
from engine.transfer.options import Result

SHOWN = 10
"""Failures in the text of an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transferred:
    """One transfer of an import, which takes one for each pair of entities or stores.

    Attributes:
        source: URI.
        destination: URI.
    """

    source: str
    destination: str
    result: Result


@dataclass(slots=True, kw_only=True)
class ImportResult:
    """What an import did, summed over its transfers; ``transfers`` has the details of each."""

    transfers: list[Transferred] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything that was found is at the destination now."""
        return not self.failure_count

    @property
    def runs_found(self) -> int:
        return sum(result.runs_found for result in self._results)

    @property
    def runs_done(self) -> int:
        """Runs that arrived with all their parts."""
        return sum(result.runs_done for result in self._results)

    @property
    def runs_live(self) -> int:
        """Of those, runs that go on at the source, of which the next import brings the rest."""
        return sum(result.runs_live for result in self._results)

    @property
    def runs_skipped(self) -> int:
        """Runs that an earlier import brought, and that did not change since."""
        return sum(result.runs_skipped for result in self._results)

    @property
    def runs_failed(self) -> int:
        return sum(result.runs_failed for result in self._results)

    @property
    def versions(self) -> int:
        """Artifact versions that arrived with their collections."""
        return sum(result.versions for result in self._results)

    @property
    def reports(self) -> int:
        """Reports, drafts, saved views and sweeps that were made or changed."""
        return sum(result.reports for result in self._results)

    @property
    def points(self) -> int:
        """Values of histories that were written."""
        return sum(result.counters.points for result in self._results)

    @property
    def files(self) -> int:
        """Files that were uploaded, those of artifacts included."""
        return sum(result.counters.files for result in self._results)

    @property
    def bytes(self) -> int:
        return sum(result.counters.bytes for result in self._results)

    @property
    def requests(self) -> int:
        return sum(result.counters.requests for result in self._results)

    @property
    def elapsed_s(self) -> float:
        return sum(result.elapsed_s for result in self._results)

    @property
    def failures(self) -> list[ItemFailed]:
        """What did not arrive, and why; at most ``Result.MAX_FAILURES`` of each transfer."""
        return [failure for result in self._results for failure in result.failures]

    @property
    def failure_count(self) -> int:
        return sum(result.failure_count for result in self._results)

    @property
    def losses(self) -> Counter[str]:
        """How many values of each kind did not arrive as they were."""
        return sum((result.losses for result in self._results), Counter())

    @property
    def _results(self) -> Sequence[Result]:
        return [each.result for each in self.transfers]

    def __str__(self) -> str:
        told = f"{self.runs_done} runs arrived, {self.runs_skipped} were there, {self.runs_failed} failed"
        told += f"; {self.versions} artifact versions" if self.versions else ""
        told += f"; {self.reports} reports, views and sweeps" if self.reports else ""
        more = f"; {self.failure_count} failures in all" if self.failure_count else ""
        return f"{told}; {self.points:,} points, {self.files:,} files, {self.bytes:,} bytes{more}"


class ImportFailures(EngineError):
    """Something did not arrive, though everything else did.

    Attributes:
        result: what was done; ``result.failures`` has each item with its cause.
    """

    def __init__(self, result: ImportResult) -> None:
        count = result.failure_count
        listed = "".join(f"\n  {failure.subject}: {failure.message}" for failure in result.failures[:SHOWN])
        more = f"\n  … and {count - SHOWN} more" if count > SHOWN else ""
        items = "1 item" if count == 1 else f"{count} items"
        super().__init__(
            f"{items} did not arrive, everything else did:{listed}{more}\n",
            remedy="import again: what arrived is left out, what failed is tried again",
        )
        self.result = result
