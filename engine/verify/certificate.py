"""Certificates: what was found at the destination, hashed, to be looked at again without the source.

A certificate is one JSON file. Each run has a hash of what is said of it, of its history, its files and its
artifacts; the root of a Merkle tree over all runs stands for the whole.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Final, Self

import orjson

import engine
from engine.errors import ConfigError
from engine.records import Json, Loss, SystemInfo
from engine.transfer.options import Result
from engine.verify.findings import Findings, Level, as_json
from engine.verify.merkle import Tree, leaf, root_of
from engine.verify.values import canonical

FORMAT: Final = "transfer-engine certificate"
VERSION: Final = 1
NAME: Final = "certificate.json"
"""In the state directory."""

EXAMPLES = 5
"""Of each kind of declared change."""

SHOWN = 1_000
"""Differences that are written down; all are counted."""


@dataclass(frozen=True, slots=True)
class CertifiedRun:
    """One run as it was found.

    Attributes:
        project: where it is, ``entity/project``.
        parts: a hash each of ``run``, ``history``, ``files`` and ``artifacts``, as far as they were read.
    """

    project: str
    run: str
    parts: Mapping[str, str]

    @property
    def root(self) -> str:
        """The hash of the run, from those of its parts."""
        parts = (canonical([name, root]) for name, root in self.parts.items())
        return root_of([canonical([self.project, self.run]), *parts])

    @property
    def leaf(self) -> bytes:
        """Its place in the tree of a certificate."""
        return leaf(self.root)


@dataclass(frozen=True, slots=True)
class CertifiedObject:
    """Something that belongs to no single run, as it was found.

    Attributes:
        kind: ``collection``, ``version``, ``sweep`` or ``report``.
        project: where it is, ``entity/project``.
        name: tells it from others of its kind there.
        root: the hash of all there is of it.
    """

    kind: str
    project: str
    name: str
    root: str

    @property
    def leaf(self) -> bytes:
        """Its place in the tree of a certificate."""
        return leaf(canonical([self.kind, self.project, self.name, self.root]))


class CertificateWriter:
    """Takes runs, then objects; nothing is at ``path`` before ``write``. Made by ``certificate``."""

    def __init__(self, path: Path, runs: IO[bytes], objects: IO[bytes]) -> None:
        self.path = path
        self._runs = _Lines(runs)
        self._objects = _Lines(objects)

    def add(self, run: CertifiedRun) -> None:
        """Take the next run; their order is that of the leaves of the tree."""
        self._runs.add(run)

    def add_object(self, found: CertifiedObject) -> None:
        """Take the next object; in the tree, all of them come after the runs."""
        self._objects.add(found)

    def write(self, findings: Findings, transfer: Result | None = None) -> None:
        """Put the certificate in its place.

        Args:
            transfer: what was verified, if that was just now moved.

        Raises:
            ConfigError: it cannot be written there.
        """
        head = orjson.dumps(_head(findings, transfer), option=orjson.OPT_INDENT_2, default=str)
        unfinished = self.path.with_name(self.path.name + ".partial")
        with _writing(self.path):
            with unfinished.open("wb") as file:
                file.write(head.rstrip().removesuffix(b"}").rstrip())
                for name, lines in (("runs", self._runs), ("objects", self._objects)):
                    file.write(b',\n  "%s": [\n' % name.encode())
                    file.writelines(lines)
                    file.write(b"\n]")
                file.write(b"}\n")
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self.path)


class _Lines:
    """The items of a list in JSON, kept on disk."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._count = 0

    def add(self, item: object) -> None:
        self._file.write((b",\n" if self._count else b"") + orjson.dumps(item))
        self._count += 1

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(0)
        return iter(partial(self._file.read, 1 << 20), b"")


@contextmanager
def certificate(path: Path) -> Iterator[CertificateWriter]:
    """What a certificate at ``path`` is written with.

    Raises:
        ConfigError: there is no writing to the directory of ``path``.
    """
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Told now rather than after hours.
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-"):
            pass
    with tempfile.TemporaryFile() as runs, tempfile.TemporaryFile() as objects:
        yield CertificateWriter(path, runs, objects)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"the certificate cannot be written to {path}: {error.strerror}",
            remedy="name another file with --certificate",
            exc=error,
        ) from error


def _head(findings: Findings, transfer: Result | None) -> dict[str, Json]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "engine": engine.__version__,
        "level": findings.level,
        "parts": sorted(findings.parts),
        "began_at": _iso(findings.began_at),
        "ended_at": _iso(findings.ended_at),
        "source": asdict(findings.source) if findings.source else None,
        "destination": asdict(findings.destination) if findings.destination else None,
        "selection": asdict(findings.selection),
        "counts": asdict(findings.counts),
        "difference_count": findings.difference_count,
        "differences": [as_json(one) for one in findings.differences[:SHOWN]],
        "not_verified_count": findings.not_verified_count,
        "not_verified": [as_json(one) for one in findings.not_verified[:SHOWN]],
        "declared": _losses(findings.declared.counts, findings.declared.examples),
        "told_by_runs": _losses(findings.told.counts, findings.told.examples),
        "told_by_transfer": _losses(transfer.losses, transfer.loss_examples) if transfer else None,
        "root": findings.root,
    }


def _losses(counts: Mapping[str, int], examples: Mapping[str, Sequence[Loss]]) -> dict[str, Json]:
    return {
        kind: {
            "count": count,
            "examples": [f"{loss.subject}: {loss.detail}" for loss in examples[kind][:EXAMPLES]],
        }
        for kind, count in sorted(counts.items())
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate that was read.

    Attributes:
        differences: how many there were when it was written.
    """

    level: Level
    parts: frozenset[str]
    source: SystemInfo
    destination: SystemInfo
    ended_at: str
    differences: int
    root: str
    runs: tuple[CertifiedRun, ...]
    objects: tuple[CertifiedObject, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read one and check it against its own hashes.

        Raises:
            ConfigError: it is none, it is of a later version, or somebody changed it.
        """
        try:
            told = orjson.loads(path.read_bytes())
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}", exc=error) from error
        except orjson.JSONDecodeError as error:
            raise ConfigError(f"{path} is no certificate: {error}", exc=error) from error
        if not isinstance(told, dict) or told.get("format") != FORMAT:
            raise ConfigError(f"{path} is no certificate", remedy="name one that engine verify wrote")
        if told["version"] != VERSION:
            raise ConfigError(
                f"{path} is a certificate of version {told['version']}; this engine reads {VERSION}",
                remedy="use the version of the engine that is named in it",
            )
        found = cls(
            level=Level(told["level"]),
            parts=frozenset(told["parts"]),
            source=_system(told["source"]),
            destination=_system(told["destination"]),
            ended_at=told["ended_at"],
            differences=told["difference_count"],
            root=told["root"],
            runs=tuple(CertifiedRun(**run) for run in told["runs"]),
            objects=tuple(CertifiedObject(**one) for one in told.get("objects", ())),
        )
        if found.root != tree_root(found.runs, found.objects):
            raise ConfigError(
                f"{path} was changed after it was written: its hashes do not fit its root",
                remedy="get it again from where it was kept",
            )
        return found


def tree_root(runs: Iterable[CertifiedRun], objects: Iterable[CertifiedObject] = ()) -> str:
    tree = Tree()
    for run in runs:
        tree.add(run.leaf)
    for found in objects:
        tree.add(found.leaf)
    return tree.root()


def _system(told: Mapping[str, Json]) -> SystemInfo:
    return SystemInfo(**{**told, "notes": tuple(told["notes"])})
