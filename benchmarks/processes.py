"""Child processes: servers to run against, and commands whose cost is measured."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Cost:
    """What a command took; CPU is user and system time of the process and its children."""

    wall_s: float
    cpu_s: float
    peak_rss_mb: float
    status: int
    out: str


def measured(command: Sequence[str], *, environ: Mapping[str, str], log: Path, cwd: Path) -> Cost:
    """Run a command to its end; its stderr goes to ``log``."""
    result = log.with_suffix(".json")
    measure = [sys.executable, "-I", str(Path(__file__).with_name("measure.py")), str(result)]
    with log.open("wb") as errors:
        done = subprocess.run(
            [*measure, *command],
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=cwd,
            text=True,
            check=True,
        )
    return Cost(out=done.stdout, **json.loads(result.read_text()))


def cpu_s(*pids: int) -> float:
    """User and system time of running processes and all below them, as Linux tells it."""
    tick = os.sysconf("SC_CLK_TCK")
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15]))
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        total += int(cpu_s(*map(int, children)) * tick)
    return total / tick


@dataclass(frozen=True)
class SandboxProcess:
    url: str
    api_key: str
    entity: str
    pid: int

    def requests(self) -> int:
        """Requests that it answered so far, without those to this very counter."""
        counters = self.counters()
        methods = ("GET /", "HEAD /", "POST /", "PUT /", "PATCH /", "DELETE /", "object ")
        return sum(
            count
            for kind, count in counters.items()
            if kind.startswith(methods) and kind != "GET /admin/counters"
        )

    def counters(self) -> dict[str, int]:
        """Requests by kind; those that a fault refused are not among them."""
        counters: dict[str, int] = json.loads(self._get("/admin/counters"))
        return counters

    def faults(self) -> list[dict[str, Any]]:
        """The rules of faults, and how often each acted."""
        rules: list[dict[str, Any]] = json.loads(self._get("/admin/faults"))["rules"]
        return rules

    def post(self, path: str, body: Mapping[str, Any]) -> None:
        """Ask for something that only a sandbox does."""
        self._send(path, json.dumps(body).encode())

    def _get(self, path: str) -> bytes:
        return self._send(path, None)

    def _send(self, path: str, body: bytes | None) -> bytes:
        basic = b64encode(f"api:{self.api_key}".encode()).decode()
        request = urllib.request.Request(self.url + path, body, {"Authorization": f"Basic {basic}"})
        with urllib.request.urlopen(request) as answer:
            content = answer.read()
            assert isinstance(content, bytes)
            return content


@dataclass(frozen=True)
class MlflowProcess:
    url: str
    pid: int


@contextmanager
def sandbox_process(data_dir: Path, *options: str) -> Iterator[SandboxProcess]:
    """``engine sandbox`` in a process of its own, with further options."""
    command = [sys.executable, "-m", "engine.cli.main", "sandbox", "--data-dir", str(data_dir), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            told = dict(process.stdout.readline().strip().split("=", 1) for _ in range(2))
            yield SandboxProcess(told["WANDB_BASE_URL"], told["WANDB_API_KEY"], "rehearsal", process.pid)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


@contextmanager
def mlflow_process(backend_uri: str, artifacts: Path, log: Path, *, workers: int) -> Iterator[MlflowProcess]:
    """A real ``mlflow server``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", backend_uri, "--artifacts-destination", str(artifacts)]
    command += ["--workers", str(workers)]
    settings = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=settings, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{url}/health").close()
                break
            except OSError:
                time.sleep(0.1)
        yield MlflowProcess(url, process.pid)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
