"""Files that people put into reports: they come along as files of a run that is made for them.

A report has no files of its own; what its page uploads goes to an address that only the page knows how to
make. Files of a run are shown wherever their address is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import anyio

from engine.errors import NotFound
from engine.protocols import Reader, RunWriter
from engine.records import Blob, Namespace, RunFile
from engine.reports import View
from engine.transfer.context import Context

NAME: Final = "Files of reports"
"""What the run is called."""


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Brings the files of the reports of one transfer.

    Attributes:
        open_run: opens the run for the files of the reports of a project of the source.
    """

    context: Context
    open_run: Callable[[Namespace], Awaitable[RunWriter]]
    read: Reader

    async def bring(self, view: View, wanted: Mapping[str, str]) -> None:
        """Have the files at the destination.

        Args:
            wanted: addresses at the source, by their paths in the run.
        """
        with TemporaryDirectory(dir=self.context.spool) as directory:
            found = [
                file
                for number, (path, address) in enumerate(wanted.items())
                if (file := await self._fetched(view, path, address, Path(directory, str(number))))
            ]
            if found:
                writer = await self.open_run(view.namespace)
                await writer.write_files(_each(found), self.read)
                await writer.finish(complete=True)

    async def _fetched(self, view: View, path: str, address: str, place: Path) -> RunFile | None:
        """A file on the local disk, as nobody told how large it is; None if it is gone at the source."""
        blob = Blob(path=path, locator=view.files[address])
        try:
            async with await anyio.open_file(place, "wb") as file, aclosing(self.read(blob)) as pieces:
                async for piece in pieces:
                    await file.write(piece)
        except NotFound:
            shown = address.partition("?")[0]
            self.context.lose("report_file_missing", str(view), f"{shown} is not at the source any more")
            return None
        return RunFile(path=path, local_path=place)


async def _each(files: Sequence[RunFile]) -> AsyncIterator[RunFile]:
    for file in files:
        yield file
