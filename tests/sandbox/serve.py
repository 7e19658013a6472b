"""A sandbox in a process of its own, which prints URL and key: ``python -m tests.sandbox.serve DIR``."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from engine.sandbox import Sandbox


async def main(data_dir: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Sandbox(data_dir) as sandbox:
        print(sandbox.url, sandbox.api_key, flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
