"""Waits out an outage: while a server is down, one request at a time asks whether it is back.

A ``Breaker`` watches one class of endpoint of one host. It opens when several different requests in a row
found the server gone (no connection, timeouts, 502–504) and none got through for a while; a single object
that a server cannot serve never opens it. Where few requests are under way, or answers are errors of a kind
that may be one object's fault, the server itself is asked (``doubtful``), and what it says decides. While
the breaker is open, requests wait instead of using up their attempts, so a night's maintenance costs the
night and nothing else. A server that never answered is not waited for: that is a wrong address rather than
an outage.

Like the pacer it is a pure state machine; the time is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass, field

OPENS_AFTER = 3
"""Different requests that failed in a row."""

OPENS_AFTER_S = 5.0
"""And so long without a success."""

ITSELF = "the server itself"
"""The request that asks for no object at all."""

PROBE_FIRST_S, PROBE_MOST_S = 1.0, 30.0
"""Between probes, doubled each time."""

PATIENCE_S = 6 * 3600.0
"""So long an outage is waited out; then the transfer stops, to be resumed by hand."""


@dataclass(slots=True)
class Breaker:
    """Whether a server is there.

    Attributes:
        patience_s: how long an outage may last.
        down_since: when it was last seen before the outage that is going on; None if there is none.
        last_success: when it was last seen; None if it never was.
    """

    patience_s: float = PATIENCE_S
    down_since: float | None = None
    last_success: float | None = None
    _failed: set[str] = field(default_factory=set)
    _suspicious: bool = False
    _probe_at: float = 0.0
    _probe_wait_s: float = PROBE_FIRST_S
    _probing: bool = False

    def delay(self, now: float) -> float:
        """Seconds until a request may try; 0 for now. Asked again after waiting."""
        if self.down_since is None:
            return 0.0
        if self._probing:
            return PROBE_FIRST_S
        return max(0.0, self._probe_at - now)

    def admit(self) -> None:
        """A request goes out; while the server is down it is the only one."""
        self._probing = self.down_since is not None

    def succeeded(self, now: float) -> None:
        """The server answered, with whatever."""
        self.last_success = now
        self.down_since = None
        self._probing = False
        self._probe_wait_s = PROBE_FIRST_S
        self._failed.clear()
        self._suspicious = False

    def failed(self, now: float, request: str, *, sure: bool = True) -> None:
        """The server did not answer ``request``, or said that it cannot work.

        Args:
            sure: False for an error that may as well be that of one object.
        """
        self._probing = False
        if self.last_success is None:
            return
        self._suspicious = True
        if sure:
            self._failed.add(request)
        if self.down_since is not None:
            if request != ITSELF:
                self._probe_wait_s = min(PROBE_MOST_S, 2 * self._probe_wait_s)
            self._probe_at = now + self._probe_wait_s
        elif self._told_enough() and now - self.last_success >= OPENS_AFTER_S:
            self.down_since = self.last_success
            self._probe_at = now + self._probe_wait_s

    def doubtful(self, now: float) -> bool:
        """Whether nothing but the server itself can tell if it is gone."""
        if self.last_success is None or not self._suspicious:
            return False
        return len(self._failed - {ITSELF}) < OPENS_AFTER and now - self.last_success >= OPENS_AFTER_S

    def _told_enough(self) -> bool:
        return ITSELF in self._failed or len(self._failed) >= OPENS_AFTER

    def abandoned(self) -> None:
        """A request that was admitted ended without an outcome, for example because it was cancelled."""
        self._probing = False

    def exhausted(self, now: float) -> bool:
        """Whether the outage lasts longer than anybody wants to wait."""
        return self.down_since is not None and now - self.down_since > self.patience_s
