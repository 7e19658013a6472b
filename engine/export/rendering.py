"""Tables made of an archive: the run table as Parquet, and all of it as CSV, JSON lines or a DuckDB database.

They are made anew each time, each file whole or not at all.
"""

from __future__ import annotations

import csv
import json
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
from anyio.to_thread import run_sync

from engine.archive.points import COLUMNS, read_points
from engine.archive.rows import RowWriter, read_rows
from engine.archive.source import ArchiveSource, Located
from engine.errors import ConfigError
from engine.export.run_table import COLUMNS as RUN_COLUMNS
from engine.export.run_table import TIMES, row_of
from engine.export.united import one_table
from engine.records import Json, Run, Selection
from engine.transfer.context import Context

RUNS: Final = "runs.parquet"
"""The run table, beside ``archive.json``."""

TABLES: Final = ("history", "points", "system-metrics", "console")

EVERYTHING: Final = Selection(include_deleted=True)


class Form(StrEnum):
    """What an export is for."""

    PARQUET = "parquet"
    CSV = "csv"
    JSONL = "jsonl"
    DUCKDB = "duckdb"


def check(form: Form) -> None:
    """See that everything is installed.

    Raises:
        ConfigError: something is not.
    """
    if form is not Form.DUCKDB:
        return
    try:
        import duckdb  # noqa: F401 - optional
    except ImportError as error:
        raise ConfigError(
            "DuckDB is not installed",
            remedy="pip install 'transfer-engine[duckdb]', or choose another format",
        ) from error


def made_of(form: Form) -> list[str]:
    """What is made, by its name in the directory."""
    more = {Form.CSV: ["csv/"], Form.JSONL: ["jsonl/"], Form.DUCKDB: ["export.duckdb"]}
    return [RUNS, *more.get(form, [])]


async def render(root: Path, form: Form) -> None:
    """Make the tables of an archive.

    Args:
        root: the directory of the archive; the tables go there too.
    """
    with tempfile.TemporaryDirectory(dir=root, prefix=".rendering-") as name:
        work = Path(name)
        runs = [found async for found in _runs(ArchiveSource(str(root)), work)]
        await run_sync(_finish, root, work, form, runs)


@dataclass(frozen=True, slots=True)
class _Kept:
    """One run of an archive, without what the run table says already."""

    project: str
    stem: str
    tables: Mapping[str, Path]


async def _runs(source: ArchiveSource, work: Path) -> Any:
    """Write the run table and the guide's tables, and tell where the histories are."""
    (work / "projects").mkdir()
    (work / "runs.jsonl").touch()
    with RowWriter(work / RUNS, None, work, times=TIMES, always=RUN_COLUMNS) as table:
        async with source.open(Context(spool=work)):
            async for project in source.projects(EVERYTHING):
                number = 0
                async with aclosing(source.runs(project, EVERYTHING)) as runs:
                    async for run in runs:
                        if not isinstance(run, Run):
                            raise run.error
                        assert isinstance(run.locator, Located)
                        place = run.locator.place
                        await run_sync(_write_run, table, work, place.project.name, number, run)
                        number += 1
                        tables = {name: place.table(name) for name in TABLES if name in run.locator.parts}
                        yield _Kept(place.project.name, place.stem, tables)


def _write_run(table: RowWriter, work: Path, project: str, number: int, run: Run) -> None:
    row = row_of(run)
    table.add([row])
    with (work / "runs.jsonl").open("a", encoding="ascii") as file:
        file.write(f"{json.dumps(_strict(row))}\n")
    _write_like_the_guide(work / "projects" / f"{project}.csv", number, run)


def _write_like_the_guide(path: Path, number: int, run: Run) -> None:
    """A line as pandas writes it in the recipe of W&B's guide: its number, and dicts as Python shows them."""
    own = {key: value for key, value in run.config.items() if not key.startswith("_")}
    with path.open("a", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if number == 0:
            writer.writerow(("", "summary", "config", "name"))
        writer.writerow((number, dict(run.summary or {}), own, run.name))


def _finish(root: Path, work: Path, form: Form, runs: list[_Kept]) -> None:
    render_form: dict[Form, Callable[[Path, Path, list[_Kept]], None]] = {
        Form.CSV: _csv,
        Form.JSONL: _jsonl,
        Form.DUCKDB: _duckdb,
    }
    made = work / "made"
    made.mkdir()
    if form in render_form:
        render_form[form](work, made, runs)
    for path in (work / RUNS, *made.iterdir()):
        target = root / path.name
        if path.is_dir() and target.exists():
            shutil.rmtree(target)
        path.replace(target)


# -- CSV -----------------------------------------------------------------------------------------


def _csv(work: Path, made: Path, runs: list[_Kept]) -> None:
    out = made / "csv"
    out.mkdir()
    _csv_of(work / RUNS, out / "runs.csv")
    (work / "projects").replace(out / "projects")
    for run, name, path in _tables(runs):
        target = out / name / run.project / f"{run.stem}.csv"
        target.parent.mkdir(parents=True, exist_ok=True)
        _csv_of(path, target)


def _csv_of(path: Path, target: Path) -> None:
    with pq.ParquetFile(path) as file:
        fields = [
            pa.field(field.name, pa.string()) if pa.types.is_dictionary(field.type) else field
            for field in file.schema_arrow
        ]
        schema = pa.schema(fields)
        with arrow_csv.CSVWriter(target, schema) as writer:
            for group in range(file.num_row_groups):
                writer.write_table(file.read_row_group(group).cast(schema))


def _tables(runs: list[_Kept]) -> Iterator[tuple[_Kept, str, Path]]:
    for run in runs:
        for name, path in run.tables.items():
            yield run, name, path


# -- JSON lines ----------------------------------------------------------------------------------


def _jsonl(work: Path, made: Path, runs: list[_Kept]) -> None:
    out = made / "jsonl"
    out.mkdir()
    (work / "runs.jsonl").replace(out / "runs.jsonl")
    for run, name, path in _tables(runs):
        _write_lines(out / name / run.project / f"{run.stem}.jsonl", _lines(name, path))


def _lines(name: str, path: Path) -> Iterator[Mapping[str, Json]]:
    if name == "points":
        for chunk in read_points(path):
            columns = (column.to_pylist() for column in chunk.batch.columns)
            for values in zip(*columns, strict=True):
                yield dict(zip(COLUMNS, values, strict=True))
    else:
        for rows in read_rows(path):
            yield from rows.rows


def _write_lines(path: Path, rows: Iterator[Mapping[str, Json]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="ascii") as file:
        for row in rows:
            file.write(f"{json.dumps(_strict(row))}\n")


def _strict(value: Json) -> Json:
    """Numbers that are not finite as W&B writes them, for JSON has none."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: _strict(each) for key, each in value.items()}
    return [_strict(each) for each in value] if isinstance(value, list) else value


# -- DuckDB --------------------------------------------------------------------------------------


def _duckdb(work: Path, made: Path, runs: list[_Kept]) -> None:
    import duckdb

    files: dict[str, list[Path]] = {}
    for _, name, path in _tables(runs):
        files.setdefault(name.replace("-", "_"), []).append(path)
    files["runs"] = [work / RUNS]
    with duckdb.connect(str(made / "export.duckdb")) as database:
        for name, paths in files.items():
            database.register("arriving", one_table(paths))
            database.execute(f"CREATE TABLE {name} AS SELECT * FROM arriving")  # noqa: S608 - our names
            database.unregister("arriving")
