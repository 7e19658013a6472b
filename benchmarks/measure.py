"""Runs a command and writes what it took to a file: ``measure.py RESULT.json COMMAND…``.

A process of its own because Linux counts the memory of the process that forks as the child's peak,
so that a command is best started by something small.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    result, *command = sys.argv[1:]
    began = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took = {
        "wall_s": time.monotonic() - began,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_rss_mb": usage.ru_maxrss / 1024,
        "status": process.returncode,
    }
    Path(result).write_text(json.dumps(took))


if __name__ == "__main__":
    main()
