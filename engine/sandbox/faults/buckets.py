"""How much a server allows: token buckets and fixed windows, as its clients meet them and cannot see them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class TokenBucket:
    """Allows ``rate`` requests per second on average, and ``burst`` at once."""

    rate: float
    burst: float
    _tokens: float = 0.0
    _at: float | None = None

    def take(self, now: float) -> bool:
        """Whether a request may pass at this moment."""
        if self._at is None:
            self._tokens = self.burst
        else:
            self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def wait_s(self) -> float:
        """Seconds until the next token, as of the last request."""
        return max(0.0, 1 - self._tokens) / self.rate


@dataclass(slots=True)
class Window:
    """Allows ``most`` requests in each window of ``length_s`` seconds."""

    most: int
    length_s: float
    _ends: float = 0.0
    _used: int = 0
    _now: float = 0.0

    def take(self, now: float) -> bool:
        """Whether a request may pass at this moment."""
        if now >= self._ends:
            self._ends, self._used = now + self.length_s, 0
        self._now = now
        self._used += 1
        return self._used <= self.most

    @property
    def left(self) -> int:
        return max(0, self.most - self._used)

    def wait_s(self) -> float:
        """Seconds until the window ends, as of the last request."""
        return max(0.0, self._ends - self._now)
