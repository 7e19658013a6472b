"""Lists that come in pages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

from engine.errors import CommError, NotFound
from engine.records import Json, Run
from engine.wandb.client import WandbClient


async def pages(
    client: WandbClient,
    document: str,
    variables: Mapping[str, Json],
    connection: Callable[[Json], Mapping[str, Json] | None],
    subject: str,
    *,
    cursor: str | None = None,
) -> AsyncGenerator[Sequence[Mapping[str, Json]]]:
    """The nodes of a connection, page by page, for as long as the server says that there are more.

    An empty page is no end, as the SDK takes it to be; a cursor that does not move is an error.

    Args:
        connection: finds the connection in an answer, None if what should have it is not there.
        cursor: where to go on after.

    Raises:
        NotFound: there is no such connection.
    """
    while True:
        data = await client.graphql(document, {**variables, "cursor": cursor}, subject)
        found = connection(data)
        if found is None:
            raise NotFound("not there, or not open to you", side=client.side, subject=subject)
        yield [edge["node"] for edge in found["edges"] if edge.get("node") is not None]
        cursor = next_cursor(found, cursor, client, subject)
        if cursor is None:
            return


def next_cursor(
    connection: Mapping[str, Json], cursor: str | None, client: WandbClient, subject: str
) -> str | None:
    """Where the next page begins, None if there is none.

    Raises:
        CommError: the server says that there is one, but not where.
    """
    if not connection["pageInfo"]["hasNextPage"]:
        return None
    edges = connection["edges"]
    following: str | None = connection["pageInfo"].get("endCursor") or (
        edges[-1]["cursor"] if edges else None
    )
    if not following or following == cursor:
        raise CommError("the server tells of more, but not how to get it", side=client.side, subject=subject)
    return following


def of_run(data: Json, subject: str, client: WandbClient) -> Mapping[str, Json]:
    """The run in an answer.

    Raises:
        NotFound: it was deleted meanwhile, or is in a project that the caller may not see.
    """
    run: Mapping[str, Json] | None = (data.get("project") or {}).get("run")
    if run is None:
        raise NotFound("the run is not there, or not open to you", side=client.side, subject=subject)
    return run


def address(run: Run) -> dict[str, Json]:
    """The variables that find a run."""
    return {"entity": run.namespace.entity, "project": run.namespace.project, "run": run.id}
