"""The environment that a run was started in, as the SDK wrote it to a file of the run."""

from __future__ import annotations

from collections.abc import Mapping

from engine.errors import CommError, NotFound
from engine.records import Json
from engine.records import Run as RunRecord
from engine.wandb.api.errors import raising_comm_errors
from engine.wandb.api.files import find_file
from engine.wandb.api.session import Session
from engine.wandb.reading.values import parse_object

METADATA = "wandb-metadata.json"


@raising_comm_errors
async def read_metadata(session: Session, run: RunRecord) -> dict[str, Json] | None:
    """What the file says; None if the run has none.

    Raises:
        CommError: it is there and cannot be had, or is no JSON object.
    """
    try:
        content = await (await find_file(session, run, METADATA)).read()
    except NotFound:
        return None
    try:
        return parse_object(content.decode())
    except ValueError as error:
        raise CommError(
            f"it cannot be read: {error}", subject=f"{METADATA} of run {run.id}", exc=error
        ) from error


def command_of(metadata: Mapping[str, Json] | None) -> list[str] | None:
    """The command line in the metadata of a run; None if that is not known, as of a notebook."""
    program = (metadata or {}).get("program")
    if not program:
        return None
    return ["python", program, *((metadata or {}).get("args") or ())]
