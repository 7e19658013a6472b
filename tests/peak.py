"""How much memory a process ever had."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_bytes() -> int:
    """Most bytes of memory that this process ever had.

    On Linux ``ru_maxrss`` begins with that of whoever started the process, and so can hide its own.
    """
    if STATUS.exists():
        (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
        return int(peak) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
