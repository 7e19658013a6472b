"""Who uses a ledger, for those who come second."""

from __future__ import annotations

import os
import socket
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """An engine in a process.

    Attributes:
        id: no two engines ever have the same.
        machine: the machine since it was started; two containers on one machine have the same.
        processes: among which processes of the machine ``pid`` counts.
        since: ISO 8601, UTC.
        command: without secrets, None if there is none.
        shares: whether it works together with others that do so.
    """

    id: str
    machine: str
    processes: str
    host: str
    pid: int
    since: str
    command: str | None = None
    shares: bool = False

    @classmethod
    def me(cls, command: str | None = None, *, shares: bool = False) -> Holder:
        """A new one in this process."""
        host = socket.gethostname()
        return cls(
            id=uuid.uuid4().hex,
            machine=_machine() or host,
            processes=_processes(),
            host=host,
            pid=os.getpid(),
            since=datetime.now(UTC).isoformat(timespec="seconds"),
            command=command,
            shares=shares,
        )

    def __str__(self) -> str:
        command = f": {self.command}" if self.command else ""
        return f"process {self.pid} on {self.host} since {self.since}{command}"

    def is_gone(self, other: Holder) -> bool:
        """Whether this one can see that the process of another has ended; False if it cannot tell."""
        if (self.machine, self.processes) != (other.machine, other.processes) or os.name == "nt":
            return False
        try:
            os.kill(other.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


def _machine() -> str | None:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None


def _processes() -> str:
    with suppress(OSError):
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    return ""
