"""What a ledger of a million items costs: to fill, to find things in again, to ask for its status.

    python benchmarks/ledger.py [--items N] [--dir DIR]

"insert" hands items over as a transfer does, a run with its history and files, and waits for the disk with
each run; "resume" asks for each run whether it is done, as a second transfer does, 16 at a time. CPU is that
of the process; memory is the peak of the process beyond what it had before.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from engine.fingerprints import fingerprint
from engine.records import Namespace, Receipt, Run
from engine.transfer.ledger.items import Kind
from engine.transfer.ledger.journal import Journal
from engine.transfer.ledger.ledger import LEDGER, open_ledger
from engine.transfer.ledger.status import read_status

PARTS = frozenset({"history", "files"})
ITEMS_PER_RUN = 1 + len(PARTS)
WORKERS = 16
PROJECTS = 10
TARGET = Namespace("team", "project")


def run(number: int) -> Run:
    listed = Run(
        id=f"{number:032x}",
        namespace=Namespace("", f"experiment {number % PROJECTS}"),
        name=f"run {number}",
        config={f"param {n}": str(n) for n in range(10)},
        summary={f"metric {n}": n / 3 for n in range(10)},
    )
    return replace(listed, fingerprint=fingerprint(listed))


@contextmanager
def measured(what: str, count: int, unit: str) -> Iterator[None]:
    before, began, cpu = _peak(), time.perf_counter(), time.process_time()
    yield
    elapsed, used = time.perf_counter() - began, time.process_time() - cpu
    print(
        f"{what:28} {elapsed:8.2f} s  {count / elapsed:10,.0f} {unit}/s  "
        f"{1e6 * used / count:7.1f} us CPU/{unit}  peak +{_peak() - before:.0f} MB",
        flush=True,
    )


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1 << (20 if sys.platform == "darwin" else 10)
    )


async def fill(journal: Journal, first: int, last: int) -> None:
    async def work(numbers: Iterator[int]) -> None:
        for number in numbers:
            each = run(number)
            known = await journal.known(each, TARGET)
            await journal.run_opened(each, TARGET, known)
            for kind in (Kind.HISTORY, Kind.FILES):
                await journal.part_done(kind, each, TARGET, Receipt(points=100, note={}))
            await journal.run_done(each, TARGET, known)

    await in_parallel(work, first, last)


async def resume(journal: Journal, first: int, last: int) -> None:
    async def work(numbers: Iterator[int]) -> None:
        for number in numbers:
            assert (await journal.known(run(number), TARGET)).complete

    await in_parallel(work, first, last)


async def in_parallel(
    work: Callable[[Iterator[int]], Coroutine[Any, Any, None]], first: int, last: int
) -> None:
    numbers = iter(range(first, last))
    async with anyio.create_task_group() as tasks:
        for _ in range(WORKERS):
            tasks.start_soon(work, numbers)


async def main(items: int, directory: Path) -> None:
    runs = items // ITEMS_PER_RUN
    with measured("fingerprints alone", min(runs, 20_000), "run"):
        for number in range(min(runs, 20_000)):
            run(number)
    async with open_ledger("bench:a", "bench:b", state_dir=directory, scratch=directory) as ledger:
        journal = Journal(ledger, PARTS)
        tenth = runs // 10
        with measured("insert, the first tenth", tenth * ITEMS_PER_RUN, "item"):
            await fill(journal, 0, tenth)
        with measured("insert, the next eight", 8 * tenth * ITEMS_PER_RUN, "item"):
            await fill(journal, tenth, 9 * tenth)
        with measured("insert, the last tenth", (runs - 9 * tenth) * ITEMS_PER_RUN, "item"):
            await fill(journal, 9 * tenth, runs)
        sample = min(runs, 100_000)
        with measured("resume: is it done?", sample, "run"):
            await resume(journal, runs - sample, runs)
        with measured("status while it is open", runs * ITEMS_PER_RUN, "item"):
            read_status(directory)
    print(f"{'size of the ledger':28} {(directory / LEDGER).stat().st_size / (1 << 20):8.0f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--dir", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.dir) as scratch:
        anyio.run(main, given.items, Path(scratch))
