"""Files for other tools to read, one JSON object a line, four of them as W&B's importer kept them.

``run_successes.jsonl`` and ``run_errors.jsonl`` have ``src_entity``, ``src_project``, ``dst_entity``,
``dst_project`` and ``run_id``; ``artifact_successes.jsonl`` and ``artifact_errors.jsonl`` have ``name``,
``version`` and ``type`` in place of the id. Errors also have a list of ``problems``. ``id_map.jsonl`` has
``dst_run_id`` and ``reason`` for each run that could not keep its id. Lines are only ever added. The engine
itself never reads them: what it knows is in the ledger.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Self

import orjson

from engine.records import Artifact, Json, Namespace, Run


@dataclass(frozen=True, slots=True)
class Line:
    """What one of the files is told."""

    file: str
    content: dict[str, Json]


def run_line(run: Run, destination: Namespace, problems: Sequence[str] = ()) -> Line:
    return _line("run", run.namespace, destination, {"run_id": run.id}, problems)


def artifact_line(artifact: Artifact, destination: Namespace, problems: Sequence[str] = ()) -> Line:
    told = {"name": artifact.name, "version": artifact.version or 0, "type": artifact.type}
    return _line("artifact", artifact.namespace, destination, told, problems)


def id_line(run: Run, destination: Namespace, new_id: str, reason: str) -> Line:
    """For ``id_map.jsonl``."""
    told = run_line(run, destination).content
    return Line("id_map.jsonl", {**told, "dst_run_id": new_id, "reason": reason})


def _line(
    what: str, source: Namespace, destination: Namespace, told: dict[str, Json], problems: Sequence[str]
) -> Line:
    return Line(
        f"{what}_errors.jsonl" if problems else f"{what}_successes.jsonl",
        {
            "src_entity": source.entity,
            "src_project": source.project,
            "dst_entity": destination.entity,
            "dst_project": destination.project,
            **told,
            **({"problems": list(problems)} if problems else {}),
        },
    )


class Trail:
    """The files in a directory; each is made when its first line comes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[str, RawIOBase] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, lines: Iterable[Line]) -> None:
        """Append lines and hand them to the operating system.

        Raises:
            OSError: the disk is full or the directory gone.
        """
        texts: dict[str, list[bytes]] = defaultdict(list)
        for line in lines:
            texts[line.file].append(orjson.dumps(line.content, option=orjson.OPT_APPEND_NEWLINE))
        for name, told in texts.items():
            # In one piece, as other engines may write to the same file.
            _write(self._open(name), b"".join(told))

    def _open(self, name: str) -> RawIOBase:
        if name not in self._files:
            path = self._directory / name
            self._files[name] = self._stack.enter_context(path.open("ab", buffering=0))
        return self._files[name]


def _write(file: RawIOBase, text: bytes) -> None:
    left = memoryview(text)
    while left:
        left = left[file.write(left) or 0 :]
