"""Memory does not grow with the size of files, nor with their number."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.servers import RunningSandbox
from tests.wandb.conftest import ENTITY

MB = 1_000_000


def test_large_and_many_files_take_little_memory(sandbox: RunningSandbox, tmp_path: Path):
    """300 MB in three files and 1,500 small ones; what is kept of them are names and digests."""
    files, spool = tmp_path / "files", tmp_path / "spool"
    files.mkdir()
    spool.mkdir()
    for number in range(3):
        with (files / f"large{number}").open("wb") as file:
            file.write(bytes([number]))
            file.truncate(100 * MB)
    for number in range(1_500):
        (files / f"small{number:04}").write_bytes(number.to_bytes(2) * 500)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.wandb.uploads.uploading"),
            *(f"{sandbox.url}/{ENTITY}/memory", str(files), str(spool)),
        ],
        env={**os.environ, "WANDB_API_KEY": sandbox.api_key},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    assert int(done.stdout) < 60 * MB
