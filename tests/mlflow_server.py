"""Real MLflow tracking servers on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_S = 90


@dataclass(frozen=True)
class MlflowServer:
    url: str
    backend_uri: str
    log: Path


@contextmanager
def running_mlflow(
    backend_uri: str,
    artifacts_dir: Path,
    *,
    workers: int = 1,
    arguments: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    prefix: str = "",
    ready: str = "/health",
) -> Iterator[MlflowServer]:
    """Run `mlflow server` with proxied artifacts until the block ends; its whole group goes with it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = artifacts_dir.parent / f"mlflow-{port}.log"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", backend_uri, "--workers", str(workers)]
    command += [*arguments] if arguments else ["--artifacts-destination", str(artifacts_dir)]
    if prefix:
        command += ["--static-prefix", prefix]
    # Without this, a server brings seven job processes along.
    settings = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **(environ or {})}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=settings, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}{prefix}"
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{port}{ready}", log)
        yield MlflowServer(url, backend_uri, log)
    finally:
        # uvicorn's workers are children of their own; the group gets all of them.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"mlflow server did not start: {log.read_text()[-2000:]}") from None
            time.sleep(0.1)
