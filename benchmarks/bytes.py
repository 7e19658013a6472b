"""How fast bytes reach an object store, beside raw aiohttp and curl.

    python -m benchmarks.bytes [--large 4x1GiB] [--small 20000x4KiB] [--rounds 3] [--no-sandbox]

Either may be ``none``; ``--large 4x128MiB --small 2500x4KiB`` takes an eighth of the time.

Local files are uploaded as a W&B artifact to nginx's WebDAV, which stands for the object store, with a
server that only hands out URLs; then the whole path against the sandbox. All clients take turns in each
round, and medians are shown, so that a noisy machine disturbs all of them alike.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.object_sink import Sink, sink
from benchmarks.processes import Cost, SandboxProcess, measured, sandbox_process

MIB = 1024 * 1024
NAMES = {
    "raw": "aiohttp",
    "raw-md5": "aiohttp with MD5",
    "curl": "curl -T, one connection",
    "engine": "engine",
    "sandbox": "engine, to the sandbox",
}


@dataclass(frozen=True)
class Files:
    """So many files of such a size, random bytes."""

    count: int
    size: int
    directory: Path

    @property
    def bytes(self) -> int:
        return self.count * self.size

    def make(self) -> None:
        self.directory.mkdir()
        for number in range(self.count):
            with (self.directory / f"file{number:06}.bin").open("wb") as file:
                for start in range(0, self.size, MIB):
                    file.write(os.urandom(min(MIB, self.size - start)))


@dataclass(frozen=True)
class Measured:
    """CPU and wall time of the upload itself, without the start of the process; memory of the process."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def main() -> None:
    options = _arguments()
    with tempfile.TemporaryDirectory(prefix="bytes-", dir=options.scratch) as scratch:
        work = Path(scratch)
        for name, asked in (("large", options.large), ("small", options.small)):
            if asked is None:
                continue
            files = Files(asked[0], asked[1], work / name)
            _check_room(files, work)
            files.make()
            _show(files, _rounds(files, work, options))
            shutil.rmtree(files.directory)


def _check_room(files: Files, work: Path) -> None:
    needed, free = 2.1 * files.bytes, shutil.disk_usage(work).free
    if free < needed:
        sys.exit(
            f"needs {needed / MIB:,.0f} MiB in {work.parent}, which has {free / MIB:,.0f}; see --scratch"
        )


def _amount(text: str) -> tuple[int, int] | None:
    """Number and bytes of files, from ``4x1GiB``."""
    if text == "none":
        return None
    found = re.fullmatch(r"(\d+)x(\d+)([KMG]iB)?", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 4x1GiB")
    unit = {None: 1, "KiB": 1024, "MiB": MIB, "GiB": 1024 * MIB}[found[3]]
    return int(found[1]), int(found[2]) * unit


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--large", type=_amount, default=(4, 1024 * MIB), metavar="NxSIZE")
    parser.add_argument("--small", type=_amount, default=(20_000, 4096), metavar="NxSIZE")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-sandbox", action="store_true")
    parser.add_argument(
        "--scratch",
        type=Path,
        default=Path("/dev/shm") if Path("/dev/shm").is_dir() else None,
        help="where files and objects are, twice their size. Default: memory, so that no disk counts",
    )
    return parser.parse_args()


def _rounds(files: Files, work: Path, options: argparse.Namespace) -> dict[str, list[Measured]]:
    taken: dict[str, list[Measured]] = {name: [] for name in NAMES}
    for number in range(options.rounds):
        with sink(work / f"sink{number}") as target:
            for client in ("raw", "engine", "raw-md5", "curl"):
                taken[client].append(_upload(client, files, target, work))
                assert target.stored() == files.bytes, (client, target.stored())
                target.empty()
        shutil.rmtree(work / f"sink{number}")
        if not options.no_sandbox:
            with sandbox_process(work / "sandbox") as sandbox:
                taken["sandbox"].append(_to_sandbox(files, sandbox, work))
            shutil.rmtree(work / "sandbox")
    return {client: results for client, results in taken.items() if results}


def _upload(client: str, files: Files, target: Sink, work: Path) -> Measured:
    if client == "curl":
        return _curl(files, target, work)
    url = target.wandb if client == "engine" else target.store
    command = [sys.executable, "-m", "benchmarks.bytes_clients", client, str(files.directory), url]
    return _told(measured(command, environ={}, log=work / "log", cwd=Path.cwd()), work)


def _to_sandbox(files: Files, sandbox: SandboxProcess, work: Path) -> Measured:
    environ = {"WANDB_API_KEY": sandbox.api_key, "ENTITY": sandbox.entity}
    command = [
        *(sys.executable, "-m", "benchmarks.bytes_clients"),
        *("engine", str(files.directory), sandbox.url),
    ]
    return _told(measured(command, environ=environ, log=work / "log", cwd=Path.cwd()), work)


def _told(cost: Cost, work: Path) -> Measured:
    if cost.status:
        sys.exit((work / "log").read_text()[-3000:])
    told = json.loads(cost.out)
    return Measured(told["wall_s"], told["cpu_s"], cost.peak_rss_mb)


def _curl(files: Files, target: Sink, work: Path) -> Measured:
    config = work / "curl.conf"
    with config.open("w") as file:
        for path in sorted(files.directory.iterdir()):
            file.write(
                f'upload-file = "{path}"\nurl = "{target.store}/file/{path.name}"\noutput = /dev/null\n'
            )
    began = time.monotonic()
    # `Expect: 100-continue` would cost a round trip an object.
    cost = measured(
        ["curl", "-sS", "--fail", "-H", "Expect:", "-K", str(config)], environ={}, log=work / "log", cwd=work
    )
    if cost.status:
        sys.exit((work / "log").read_text()[-3000:])
    return Measured(time.monotonic() - began, cost.cpu_s, cost.peak_rss_mb)


def _show(files: Files, taken: dict[str, list[Measured]]) -> None:
    large = files.size >= MIB
    rate, cpu = ("MiB/s", "CPU µs/MiB") if large else ("objects/s", "CPU µs/object")
    units = files.bytes / MIB if large else files.count
    print(f"\n{files.count} files of {files.size:,} bytes")
    _line(["client", "wall s", rate, "to aiohttp", "to aiohttp with MD5", cpu, "peak MB"])
    _line(["---"] * 7)
    for client, results in taken.items():
        wall = statistics.median(result.wall_s for result in results)
        _line(
            [
                NAMES[client],
                f"{wall:.2f}",
                f"{units / wall:,.0f}",
                _ratio(taken["raw"], results),
                _ratio(taken["raw-md5"], results),
                f"{1e6 * statistics.median(r.cpu_s for r in results) / units:,.0f}",
                f"{max(result.peak_mb for result in results):.0f}",
            ]
        )


def _ratio(base: Sequence[Measured], results: Sequence[Measured]) -> str:
    """The median of the ratios within one round: what disturbs the machine lasts longer than that."""
    ratios = [one.wall_s / other.wall_s for one, other in zip(base, results, strict=True)]
    return f"{100 * statistics.median(ratios):.0f} %"


def _line(cells: Sequence[str]) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
