"""Files of runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import orjson

from engine.records import Blob, Json, Run, RunFile
from engine.transfer.context import Context
from engine.wandb import addresses
from engine.wandb.client import WandbClient
from engine.wandb.reading import documents
from engine.wandb.reading.locating import read_bytes
from engine.wandb.reading.pages import address, of_run, pages
from engine.wandb.reading.runs import counts_of

PER_PAGE = 1_000

DEADLIST = "wandb_manifest.json.deadlist"
"""Notes of the server to itself about files to delete."""

KIND = "file"
ADDRESS = "address"
"""The kind of what is only known by its address."""


async def list_files(client: WandbClient, context: Context, run: Run) -> AsyncGenerator[RunFile]:
    """All files that were uploaded with a run, also the empty ones."""
    if counts_of(run).files == 0:
        return
    subject = f"files of run {run.id}"
    variables = {**address(run), "perPage": PER_PAGE, "names": []}
    found = pages(
        client, documents.FILES, variables, lambda data: of_run(data, subject, client)["files"], subject
    )
    async with aclosing(found) as listed:
        async for page in listed:
            for node in page:
                if DEADLIST in node["name"]:
                    context.lose("file_of_the_server", f"run {run.id}", f"file {node['name']!r} was left out")
                    continue
                yield file_of(node, variables)


def file_of(node: Mapping[str, Json], where: Mapping[str, Json]) -> RunFile:
    """A node of a list of files; ``where`` has the entity, project and run."""
    locator = [KIND, where["entity"], where["project"], where["run"], node["name"], node["directUrl"]]
    return RunFile(
        path=node["name"],
        size=int(node["sizeBytes"]),
        md5=node.get("md5") or None,
        locator=orjson.dumps(locator).decode(),
    )


def addressed(client: WandbClient, spec: Json) -> dict[str, str]:
    """Addresses of files of this server in the texts of a value, and their locators."""
    found: dict[str, str] = {}
    pattern = addresses.pattern(client.base_url)
    for text in addresses.texts_in(spec):
        for match in pattern.finditer(text):
            if match["rest"].startswith("/files/"):
                found[match[0]] = orjson.dumps([ADDRESS, match["rest"]]).decode()
    return found


def read_addressed(client: WandbClient, blob: Blob, offset: int) -> AsyncGenerator[bytes]:
    """The bytes of a file that ``addressed`` found."""
    _, rest = orjson.loads(blob.locator)

    async def urls(asked: int) -> str | None:
        return None if asked else f"{client.base_url}{rest}"

    return read_bytes(client, blob, urls, f"file {rest.partition('?')[0]}", offset)


def read_file(client: WandbClient, blob: Blob, offset: int) -> AsyncGenerator[bytes]:
    """The bytes of a run file; its URL is asked for anew if it is refused."""
    _, entity, project, run, name, given = orjson.loads(blob.locator)
    subject = f"file {name} of run {run}"

    async def urls(asked: int) -> str | None:
        if not asked:
            return str(given)
        variables = {"entity": entity, "project": project, "run": run, "perPage": 1, "names": [name]}
        data = await client.graphql(documents.FILES, {**variables, "cursor": None}, subject)
        edges = of_run(data, subject, client)["files"]["edges"]
        return edges[0]["node"]["directUrl"] if edges else None

    return read_bytes(client, blob, urls, subject, offset)
