"""How far the clocks of servers are from this machine's, by the ``Date`` header of their answers.

Signatures and tokens are only valid for some minutes around the moment that they were made: where two
clocks disagree by more, a server refuses what it just allowed.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from engine.errors import ConfigError, EngineError, Problem, Side

WARN_S = 60.0
REFUSE_S = 900.0
"""What object stores tolerate (S3's ``RequestTimeTooSkewed``)."""


@dataclass(slots=True)
class Clocks:
    """The first answer of each host counts."""

    ahead_s: dict[tuple[Side, str], float] = field(default_factory=dict)
    """By how much the clock of a host is ahead of ours; the header has whole seconds."""

    def note(self, side: Side, host: str, headers: Mapping[str, str]) -> None:
        """Take the time from an answer that came just now, unless this host was seen before."""
        if (side, host) in self.ahead_s or (said := headers.get("Date")) is None:
            return
        try:
            theirs = email.utils.parsedate_to_datetime(said).timestamp()
        except ValueError:
            return
        self.ahead_s[side, host] = theirs + 0.5 - time.time()

    def errors(self) -> Iterator[EngineError]:
        """Clocks that are too far off to begin."""
        for (side, host), ahead_s in self.ahead_s.items():
            if abs(ahead_s) > REFUSE_S:
                yield ConfigError(_sentence(host, ahead_s), side=side, remedy=_REMEDY)

    def warnings(self) -> Iterator[Problem]:
        """Clocks that are off, but not so far."""
        for (side, host), ahead_s in self.ahead_s.items():
            if WARN_S < abs(ahead_s) <= REFUSE_S:
                yield Problem(kind="clock_skew", message=_sentence(host, ahead_s), side=side, remedy=_REMEDY)


_REMEDY = "set the clock that is wrong, by NTP; signed URLs and tokens fail from 15 minutes on"


def _sentence(host: str, ahead_s: float) -> str:
    amount = f"{abs(ahead_s):.0f} s" if abs(ahead_s) < 120 else f"{abs(ahead_s) / 60:.0f} minutes"
    return f"the clock of {host} is {amount} {'ahead of' if ahead_s > 0 else 'behind'} this machine's"
