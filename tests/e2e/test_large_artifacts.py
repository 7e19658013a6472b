"""Very large artifacts go from one W&B server to another, killed or not: in little memory, on no disk."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.sandbox import Account
from tests.e2e.sdk_large import HUGE, MANY
from tests.e2e.wandb_pair import A, B, Plug, api_of
from tests.servers import RunningSandbox, running_sandbox

pytestmark = pytest.mark.slow

MIB = 2**20
FILES = 100_000
BYTES = 5_400_000_000
"""More than any object store takes in one piece (S3: 5 GiB)."""
PARTS = 52
"""Of 100 MiB."""

PEAK_MB = 300
PEAK_OF_MANY_MB = 450
"""All entries of a version are known at once, when it is verified those of both sides."""
WRITTEN_MB = 100
"""To disk: the ledger, not the artifact."""

# In a small process, because Linux counts the memory of the process that forks as the child's peak.
MEASURE = """
import json, resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([status, used.ru_maxrss // 1024, used.ru_utime + used.ru_stime, used.ru_oublock * 512]))
"""


@dataclass(frozen=True)
class Used:
    """What a process took: MiB of memory at its peak, seconds of CPU, bytes written to disks."""

    status: int
    peak_mb: int
    cpu_s: float
    written: int


@dataclass
class Servers:
    source: RunningSandbox
    target: RunningSandbox
    plug: Plug
    scratch: Path

    def fill(self, what: str, amount: int) -> None:
        directory = self.scratch / f"sdk-{what}"
        directory.mkdir()
        homes = {f"WANDB_{kind}_DIR": str(directory) for kind in ("CACHE", "DATA", "CONFIG", "ARTIFACT")}
        key = {"WANDB_BASE_URL": self.source.url, "WANDB_API_KEY": self.source.api_key}
        patience = {"WANDB_HTTP_TIMEOUT": "600"}  # gigabytes of parts are joined before the answer
        program = [sys.executable, "-m", "tests.e2e.sdk_large", what, str(directory), str(amount)]
        subprocess.run(
            program,
            env={**os.environ, **key, **homes, **patience, "WANDB_DIR": str(directory)},
            check=True,
            timeout=1_500,
        )
        shutil.rmtree(directory)

    def migrate(self, project: str, kill_at: int | None = None) -> Used:
        """Bring a project and verify it.

        Args:
            kill_at: the request to the destination at which the process is killed.
        """
        source, target = self.source, self.target
        command = [sys.executable, "-m", "engine.cli.main", "migrate", f"wandb:{source.url}/{A}/{project}"]
        command += [f"wandb:{target.url}/{B}/{project}", "--source-api-key-env", "SOURCE_KEY"]
        command += ["--state-dir", str(self.scratch / f"state-{project}")]
        with subprocess.Popen(
            [sys.executable, "-c", MEASURE, *command],
            env={
                **os.environ,
                "SOURCE_KEY": source.api_key,
                "WANDB_API_KEY": target.api_key,
                "ENGINE_VERIFY": "full",
            },
            stdout=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            if kill_at is not None:
                self.plug.arm(kill_at, lambda: os.killpg(process.pid, signal.SIGKILL))
            told, _ = process.communicate(timeout=1_500)
            self.plug.arm(None)
        return Used(*json.loads(told)) if told else Used(process.returncode, 0, 0, 0)

    def puts(self) -> int:
        """Objects, and parts of them, that were sent to the destination so far."""
        return self.target.counters().get("object PUT", 0)

    def bytes_of(self, md5: str, size: int) -> bool:
        """Whether the store of the destination received such bytes, by the digest that it made itself."""
        name = f"{base64.b64decode(md5).hex()}-{size}"
        return (self.target.data_dir / "objects" / "blobs" / name[:2] / name).exists()


@pytest.fixture
def servers(tmp_path: Path) -> Generator[Servers]:
    plug = Plug()
    with (
        running_sandbox(tmp_path / "a", accounts=[Account(A)]) as source,
        running_sandbox(tmp_path / "b", accounts=[Account(B)], intercept=plug) as target,
    ):
        yield Servers(source, target, plug, tmp_path)
    # The test run keeps directories, and these are large.
    shutil.rmtree(tmp_path)


@pytest.mark.timeout(3_600)
def test_an_artifact_of_a_hundred_thousand_files_arrives_in_spite_of_a_kill(servers: Servers) -> None:
    servers.fill(MANY, FILES)
    killed = servers.migrate(MANY, kill_at=FILES // 2)
    assert killed.status == -signal.SIGKILL
    sent = servers.puts()
    assert FILES // 3 < sent < FILES // 2
    used = servers.migrate(MANY)
    print(f"{FILES} files: {used}, {used.cpu_s / FILES * 1000:.2f} ms of CPU for each")
    assert used.status == 0
    assert used.peak_mb < PEAK_OF_MANY_MB
    assert used.written < WRITTEN_MB * MIB
    # What had arrived is not sent again, but for what was on its way when the process died.
    assert servers.puts() < FILES + 1_000
    there, here = (
        api_of(server).artifact(f"{entity}/{MANY}/{MANY}:v0")
        for server, entity in ((servers.source, A), (servers.target, B))
    )
    assert here.digest == there.digest
    entries = here.manifest.entries
    assert len(entries) == FILES
    assert {path: (entry.digest, entry.size) for path, entry in entries.items()} == {
        path: (entry.digest, entry.size) for path, entry in there.manifest.entries.items()
    }
    assert all(servers.bytes_of(entry.digest, entry.size) for entry in entries.values())


@pytest.mark.timeout(3_600)
def test_a_file_that_only_goes_in_parts_never_touches_the_disk(servers: Servers) -> None:
    servers.fill(HUGE, BYTES)
    killed = servers.migrate(HUGE, kill_at=PARTS)
    assert killed.status == -signal.SIGKILL
    assert servers.puts() > PARTS // 3
    used = servers.migrate(HUGE)
    print(f"{BYTES} bytes: {used}, {used.cpu_s / BYTES * 1e9:.2f} s of CPU for each GB")
    assert used.status == 0
    assert used.peak_mb < PEAK_MB
    assert used.written < WRITTEN_MB * MIB
    there, here = (
        api_of(server).artifact(f"{entity}/{HUGE}/{HUGE}:v0")
        for server, entity in ((servers.source, A), (servers.target, B))
    )
    assert here.digest == there.digest
    (entry,) = here.manifest.entries.values()
    assert (entry.digest, entry.size) == (there.manifest.entries["huge.bin"].digest, BYTES)
    assert servers.bytes_of(entry.digest, BYTES)
