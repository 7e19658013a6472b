"""What the pages show of artifacts: collections of a project, versions of a run, one version."""

from __future__ import annotations

import html
from collections.abc import Iterable

from aiohttp import web

from engine.sandbox.artifacts import records
from engine.sandbox.artifacts.contents import Entry, blob_key, entries_of
from engine.sandbox.artifacts.lineage import inputs_of, outputs_of
from engine.sandbox.artifacts.records import Artifact, Collection, Membership
from engine.sandbox.artifacts.tags import tags_of
from engine.sandbox.context import CALL, Call
from engine.sandbox.json_text import loads
from engine.sandbox.pages import markup
from engine.sandbox.projects import projects
from engine.sandbox.projects.projects import Project
from engine.sandbox.refusals import not_found
from engine.sandbox.runs import runs
from engine.sandbox.runs.runs import Run

_MAX_ENTRIES = 1000
_FOLLOWED = ("http://", "https://")


def collections_table(call: Call, project: Project) -> str:
    """All collections, each with its newest version."""
    rows = []
    for collection in records.collections_of(call.db, project.number):
        member = records.latest_member(call.db, collection)
        if member is None:
            continue
        artifact = records.artifact_by_number(call.db, member.artifact)
        rows.append(
            [
                _link(call, collection, member, collection.name),
                html.escape(records.type_by_number(call.db, collection.type).name),
                markup.number(len(records.members_of(call.db, collection))),
                _names(call, member),
                markup.number(artifact.file_count),
                markup.size(artifact.size),
                markup.when(collection.updated_ms),
            ]
        )
    titles = ["Collection", "Type", "#Versions", "Latest", "#Files", "#Size", "Changed"]
    return markup.table(titles, rows)


def run_artifacts_table(call: Call, run: Run) -> str:
    """What a run logged and used."""
    rows = [
        *_run_rows(call, "logged", outputs_of(call, run)),
        *_run_rows(call, "used", inputs_of(call, run)),
    ]
    return markup.table(["Artifact", "Type", "", "#Files", "#Size"], rows)


def _run_rows(call: Call, role: str, artifacts: Iterable[Artifact]) -> Iterable[list[str]]:
    for artifact in artifacts:
        collection = records.collection_by_number(call.db, artifact.sequence)
        member = records.membership_in(call.db, artifact, collection.number)
        if member is not None:
            yield [
                _link(call, collection, member, f"{collection.name}:v{member.version_index}"),
                html.escape(records.type_by_number(call.db, collection.type).name),
                role,
                markup.number(artifact.file_count),
                markup.size(artifact.size),
            ]


async def artifact_page(request: web.Request) -> web.Response:
    """One version: what is known about it, its files, the other versions of the collection."""
    call, names = request[CALL], request.match_info
    project = projects.find(call, names["entity"], names["project"])
    collection = records.find_collection(call.db, project.number, names["collection"]) if project else None
    member = records.find_membership(call.db, collection, names["version"]) if collection else None
    if project is None or collection is None or member is None:
        raise not_found("no such artifact")
    artifact = records.artifact_by_number(call.db, member.artifact)
    entries = list(entries_of(call.db, artifact.number).values())
    more = len(entries) - _MAX_ENTRIES
    body = (
        markup.facts(_facts(call, collection, member, artifact))
        + markup.section("Metadata", markup.values(loads(artifact.metadata or "{}") or {}))
        + markup.section("Files", _entries_table(call, entries[:_MAX_ENTRIES]))
        + (f"<p>and {more:,} more files</p>" if more > 0 else "")
        + markup.section("Versions", _versions_table(call, collection))
    )
    trail = [(project.entity_name, None), (project.name, markup.path(project.entity_name, project.name))]
    return markup.page(f"{collection.name}:v{member.version_index}", body, trail)


def _facts(
    call: Call, collection: Collection, member: Membership, artifact: Artifact
) -> Iterable[tuple[str, str]]:
    yield "Type", html.escape(records.type_by_number(call.db, collection.type).name)
    yield "Names", _names(call, member)
    tags = [tag.name for tag in tags_of(call.db, artifact)]
    if tags:
        yield "Tags", markup.labels(tags)
    if artifact.description:
        yield "Description", f'<div class="notes">{html.escape(artifact.description)}</div>'
    yield "Created", markup.moment(artifact.created_ms)
    if artifact.run is not None:
        run = runs.of_number(call, artifact.run)
        home = runs.project_of(call, run)
        name = run.display_name or run.name
        yield "Logged by", markup.link(name, home.entity_name, home.name, "runs", run.name)
    yield "Digest", markup.code(artifact.digest)
    yield "Size", f"{markup.human_size(artifact.size)} in {artifact.file_count:,} files"


def _entries_table(call: Call, entries: Iterable[Entry]) -> str:
    rows = [
        [_source(call, entry), markup.size(max(entry.size, 0)), markup.code(entry.digest)]
        for entry in entries
    ]
    return markup.table(["Path", "#Size", "Digest"], rows)


def _source(call: Call, entry: Entry) -> str:
    """A link to the bytes; of a reference, only one that a browser may follow."""
    if entry.birth is not None:
        name = entry.path.rpartition("/")[2]
        url = call.objects.download_url(blob_key(entry.birth, entry.digest), filename=name)
        return markup.away(entry.path, url)
    reference = entry.ref or ""
    target = markup.away(reference, reference) if reference.startswith(_FOLLOWED) else markup.code(reference)
    return f"{html.escape(entry.path)} → {target}"


def _versions_table(call: Call, collection: Collection) -> str:
    rows = []
    for member in reversed(records.members_of(call.db, collection)):
        artifact = records.artifact_by_number(call.db, member.artifact)
        rows.append(
            [
                _link(call, collection, member, f"v{member.version_index}"),
                _names(call, member),
                markup.number(artifact.file_count),
                markup.size(artifact.size),
                markup.when(member.created_ms),
            ]
        )
    return markup.table(["Version", "Names", "#Files", "#Size", "Added"], rows)


def _link(call: Call, collection: Collection, member: Membership, text: str) -> str:
    project = projects.of_number(call, collection.project)
    kind = records.type_by_number(call.db, collection.type).name
    version = f"v{member.version_index}"
    names = (project.entity_name, project.name, "artifacts", kind, collection.name, version)
    return markup.link(text, *names)


def _names(call: Call, member: Membership) -> str:
    aliases = [alias.alias for alias in records.aliases_of(call.db, member)]
    return markup.labels([f"v{member.version_index}", *aliases])
