"""Artifacts as the protocol has them, one request at a time."""

from __future__ import annotations

import base64
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.sandbox.artifact_writer import (
    CREATE,
    FILES,
    ArtifactWriter,
    canonical_digest,
    headers_of,
    manifest_of,
    md5_b64,
)
from tests.servers import RunningSandbox, send

DELETE = "mutation ($input: DeleteArtifactInput!) { deleteArtifact(input: $input) { artifact { state } } }"
ALIASES = "mutation ($input: AddAliasesInput!) { addAliases(input: $input) { success } }"
LINK = """mutation ($input: LinkArtifactInput!) { linkArtifact(input: $input) {
    versionIndex artifactMembership { id artifactCollection { id name __typename } aliases { alias } } } }"""
FILE_LIST = """query ($id: ID!, $first: Int, $after: String, $names: [String!]) { artifact(id: $id) {
    currentManifest { digest file { directUrl } }
    files(first: $first, after: $after, names: $names) { totalCount pageInfo { hasNextPage endCursor }
    edges { node { name directUrl sizeBytes digest md5 isReference storagePath } } } } }"""


@pytest.fixture
def writer(sandbox: RunningSandbox, project: str) -> ArtifactWriter:
    return ArtifactWriter(sandbox, project)


def files_of(writer: ArtifactWriter, artifact: str, **arguments: Any) -> Any:
    return writer.sandbox.graphql(FILE_LIST, id=artifact, **arguments)["artifact"]


# -- versions


def test_versions_count_up_and_latest_moves(writer: ArtifactWriter) -> None:
    versions = [writer.log("ds", {"a": data})["versionIndex"] for data in (b"0", b"1", b"2")]
    assert versions == [0, 1, 2]
    assert writer.version_of("ds") == writer.version_of("ds:latest") == 2
    assert writer.version_of("ds:v1") == 1
    assert writer.version_of("ds:v3") is None
    assert writer.version_of("other") is None


def test_a_digest_names_a_version(writer: ArtifactWriter) -> None:
    writer.log("ds", {"a": b"0"})
    writer.log("ds", {"a": b"1"})
    digest = canonical_digest({"a": md5_b64(b"0")})
    assert writer.version_of(f"ds:{digest}") == 0


def test_the_same_content_again_makes_no_version_but_moves_the_aliases(writer: ArtifactWriter) -> None:
    first = writer.log("ds", {"a": b"0"})
    writer.log("ds", {"a": b"1"})
    again = writer.log(
        "ds",
        {"a": b"0"},
        aliases=[{"alias": alias, "artifactCollectionName": "ds"} for alias in ("latest", "best")],
    )
    assert (again["id"], again["state"]) == (first["id"], "COMMITTED")
    assert writer.version_of("ds:latest") == writer.version_of("ds:best") == 0


def test_without_deduplication_the_same_content_is_a_new_version(writer: ArtifactWriter) -> None:
    writer.log("ds", {"a": b"0"})
    assert writer.log("ds", {"a": b"0"}, enableDigestDeduplication=False)["versionIndex"] == 1


def test_equal_content_of_two_collections_stays_two_artifacts(writer: ArtifactWriter) -> None:
    assert writer.log("one", {"a": b"0"})["id"] != writer.log("two", {"a": b"0"})["id"]


def test_a_pending_version_is_neither_listed_nor_numbered(writer: ArtifactWriter) -> None:
    pending = writer.create("ds", canonical_digest({}))
    assert (pending["state"], pending["versionIndex"]) == ("PENDING", None)
    assert writer.membership("ds:latest") is None
    assert writer.log("ds", {"a": b"0"})["versionIndex"] == 0
    writer.upload_manifest(pending["id"], manifest_of({}))
    assert writer.commit(pending["id"])["versionIndex"] == 1


def test_committing_twice_is_committing_once(writer: ArtifactWriter) -> None:
    first = writer.log("ds", {"a": b"0"})
    assert writer.commit(first["id"]) == {**first}


def test_a_repeated_creation_finds_what_the_first_one_made(writer: ArtifactWriter) -> None:
    first = writer.create("ds", "0" * 32, clientID="client-of-" + writer.project)
    assert writer.create("ds", "0" * 32, clientID="client-of-" + writer.project)["id"] == first["id"]


def test_client_ids_are_known_before_the_commit(writer: ArtifactWriter) -> None:
    made = writer.create(
        "ds", "0" * 32, clientID=f"c-{writer.project}", sequenceClientID=f"s-{writer.project}"
    )
    query = """query ($id: ID!) { clientIDMapping(clientID: $id) { serverID entry { __typename } } }"""
    mapped = writer.sandbox.graphql(query, id=f"c-{writer.project}")["clientIDMapping"]
    assert mapped == {"serverID": made["id"], "entry": {"__typename": "Artifact"}}
    mapped = writer.sandbox.graphql(query, id=f"s-{writer.project}")["clientIDMapping"]
    assert mapped["serverID"] == made["artifactSequence"]["id"]
    assert writer.sandbox.graphql(query, id="nobody's")["clientIDMapping"] is None
    bob = writer.sandbox.keys["bob"]
    assert writer.sandbox.graphql(query, key=bob, id=f"c-{writer.project}")["clientIDMapping"] is None


def test_ids_are_base64_text(writer: ArtifactWriter) -> None:
    artifact = writer.create("ds", "0" * 32)["id"]
    assert base64.b64decode(artifact, validate=True).decode().startswith("Artifact:")


# -- refusals at the creation


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"artifactCollectionName": "a/b"}, "invalid artifact name"),
        ({"artifactCollectionName": "x" * 129}, "invalid artifact name"),
        ({"artifactTypeName": "data:set"}, "invalid artifact type"),
        ({"aliases": [{"alias": "v3", "artifactCollectionName": "ds"}]}, "form of a version number"),
        ({"aliases": [{"alias": "a/b", "artifactCollectionName": "ds"}]}, "invalid alias"),
        ({"tags": [{"tagName": "a  b!"}]}, "invalid tag"),
        ({"metadata": "[1]"}, "must be a JSON object"),
        ({"metadata": '{"a": NaN}'}, "strict JSON"),
        ({"metadata": json.dumps({str(i): i for i in range(101)})}, "at most 100 keys"),
        ({"ttlDurationSeconds": 0}, "ttlDurationSeconds"),
        ({"artifactTypeName": "wandb-history", "ttlDurationSeconds": 60}, "cannot have a TTL"),
        ({"digestAlgorithm": "MANIFEST_XXH128"}, "MD5"),
        ({"runName": "nobody"}, "does not exist"),
    ],
)
def test_what_w_and_b_refuses_is_refused(writer: ArtifactWriter, change: dict[str, Any], said: str) -> None:
    status, message = writer.refused(CREATE, writer.input_for("ds", "0" * 32) | change)
    assert status == 400
    assert said in message


def test_a_collection_keeps_its_type(writer: ArtifactWriter) -> None:
    writer.log("ds", {"a": b"0"})
    given = writer.input_for("ds", "0" * 32, artifactTypeName="model")
    assert "already exists with type 'dataset'" in writer.refused(CREATE, given)[1]


def test_strangers_neither_read_nor_write(writer: ArtifactWriter) -> None:
    artifact = writer.log("ds", {"a": b"0"})["id"]
    bob = writer.sandbox.keys["bob"]
    assert writer.sandbox.graphql("query ($id: ID!) { artifact(id: $id) { id } }", key=bob, id=artifact) == {
        "artifact": None
    }
    stranger = ArtifactWriter(writer.sandbox, writer.project, key=bob)
    assert stranger.refused(CREATE, writer.input_for("ds", "0" * 32))[0] == 403
    assert stranger.refused(DELETE, {"artifactID": artifact})[0] == 403


# -- the commit is strict


def test_a_commit_needs_an_uploaded_manifest(writer: ArtifactWriter) -> None:
    artifact = writer.create("ds", canonical_digest({}))["id"]
    assert "never uploaded" in writer.commit_refused(artifact)
    writer.create_manifest(artifact, "")
    assert "never uploaded" in writer.commit_refused(artifact)
    writer.create_manifest(artifact, md5_b64(manifest_of({})))
    assert "never uploaded" in writer.commit_refused(artifact)


def test_a_manifest_takes_only_the_bytes_that_were_announced(writer: ArtifactWriter) -> None:
    artifact = writer.create("ds", canonical_digest({}))["id"]
    file = writer.create_manifest(artifact, md5_b64(b"announced"))["file"]
    status, body = send("PUT", file["uploadUrl"], b"other", headers_of(file))
    assert status == 400
    assert b"BadDigest" in body


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"digest": md5_b64(b"never sent"), "size": 10}, "was never uploaded"),
        ({"digest": md5_b64(b"sent"), "size": 5}, "has 4 bytes, its manifest says 5"),
        ({"digest": "not an MD5", "size": 4}, "is not an MD5"),
        ({"digest": md5_b64(b"sent"), "birthArtifactID": "xyz"}, "not the id of a Artifact"),
        ({"size": 4}, "has no digest"),
        ({"digest": "d", "ref": "no-uri"}, "no URI"),
        ({"digest": "d", "ref": "wandb-client-artifact://abc/x"}, "client id"),
        ({"digest": "d", "ref": "wandb-artifact://00ff/x"}, "unknown"),
    ],
)
def test_every_entry_is_checked(writer: ArtifactWriter, entry: dict[str, Any], said: str) -> None:
    artifact = writer.create("ds", canonical_digest({"f": entry.get("digest", "")}))["id"]
    writer.upload(artifact, {"sent": b"sent"})
    writer.upload_manifest(artifact, manifest_of({"f": entry}))
    assert said in writer.commit_refused(artifact)
    assert writer.membership("ds:latest") is None


def test_the_digest_must_be_that_of_the_manifest(writer: ArtifactWriter) -> None:
    artifact = writer.create("ds", "0" * 32)["id"]
    writer.upload_manifest(artifact, manifest_of({}))
    assert f"has digest {canonical_digest({})}, announced was {'0' * 32}" in writer.commit_refused(artifact)


@pytest.mark.parametrize("path", ["", "/abs", "a/../b", "a//b", "./a"])
def test_paths_stay_inside_the_artifact(writer: ArtifactWriter, path: str) -> None:
    artifact = writer.create("ds", "0" * 32)["id"]
    spec = {"artifactID": artifact, "name": path, "md5": md5_b64(b"x")}
    assert "invalid path" in writer.refused(FILES, {"artifactFiles": [spec], "storageLayout": "V2"})[1]


def test_a_blob_of_another_project_cannot_be_claimed(writer: ArtifactWriter, sandbox: RunningSandbox) -> None:
    other = ArtifactWriter(sandbox, writer.project + "-other")
    born = other.log("ds", {"a": b"secret"})["id"]
    artifact = writer.create("ds", canonical_digest({"a": md5_b64(b"secret")}))["id"]
    entry = {"digest": md5_b64(b"secret"), "size": 6, "birthArtifactID": born}
    writer.upload_manifest(artifact, manifest_of({"a": entry}))
    assert "of another project" in writer.commit_refused(artifact)


# -- files


def test_content_that_is_stored_is_not_asked_for_again(writer: ArtifactWriter) -> None:
    first = writer.log("ds", {"a": b"same"})["id"]
    second = writer.create("ds", "0" * 32)["id"]
    known, new = writer.file_nodes(second, {"elsewhere": b"same", "new": b"new"})
    assert (known["uploadUrl"], known["artifact"]["id"]) == (None, first)
    assert new["artifact"]["id"] == second
    assert set(headers_of(new)) == {"Content-MD5", "Content-Type"}


def test_a_committed_artifact_takes_no_more_files(writer: ArtifactWriter) -> None:
    artifact = writer.log("ds", {"a": b"0"})["id"]
    spec = {"artifactID": artifact, "name": "b", "md5": md5_b64(b"x")}
    assert writer.refused(FILES, {"artifactFiles": [spec], "storageLayout": "V2"})[0] == 409


def test_files_are_listed_page_by_page_with_urls_that_need_no_key(writer: ArtifactWriter) -> None:
    files = {f"dir/{number:02} ü.txt": f"content {number}".encode() for number in range(7)}
    artifact = writer.log("ds", files)["id"]
    seen: dict[str, bytes] = {}
    after = None
    while True:
        page = files_of(writer, artifact, first=3, after=after)["files"]
        assert page["totalCount"] == 7
        seen |= {edge["node"]["name"]: send("GET", edge["node"]["directUrl"])[1] for edge in page["edges"]}
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert seen == files
    (edge,) = files_of(writer, artifact, names=["dir/03 ü.txt"])["files"]["edges"]
    assert (edge["node"]["md5"], edge["node"]["sizeBytes"]) == (md5_b64(b"content 3"), 9)


def test_references_are_files_without_bytes(writer: ArtifactWriter) -> None:
    uri = "s3://bucket/key"
    artifact = writer.create("ds", canonical_digest({"r": "etag"}))["id"]
    writer.upload_manifest(artifact, manifest_of({"r": {"digest": "etag", "ref": uri, "size": 7}}))
    assert writer.commit(artifact)["size"] == 7
    (edge,) = files_of(writer, artifact)["files"]["edges"]
    assert edge["node"] == {
        "name": "r",
        "directUrl": uri,
        "sizeBytes": 7,
        "digest": "etag",
        "md5": None,
        "isReference": True,
        "storagePath": None,
    }


def test_the_manifest_comes_back_as_it_was_sent(writer: ArtifactWriter) -> None:
    artifact = writer.create("ds", canonical_digest({}))["id"]
    data = manifest_of({}) + b"\n"
    writer.upload_manifest(artifact, data)
    writer.commit(artifact)
    manifest = files_of(writer, artifact)["currentManifest"]
    assert send("GET", manifest["file"]["directUrl"]) == (200, data)
    assert manifest["digest"] == md5_b64(data)


def test_an_incremental_manifest_adds_to_its_base(writer: ArtifactWriter) -> None:
    base = writer.log("ds", {"a": b"0", "b": b"1"})["id"]
    artifact = writer.create("ds", canonical_digest({"b": md5_b64(b"2")}))["id"]
    births = writer.upload(artifact, {"b": b"2"})
    entry = {"digest": md5_b64(b"2"), "size": 1, "birthArtifactID": births["b"]}
    writer.upload_manifest(artifact, manifest_of({"b": entry}), kind="INCREMENTAL", base=base)
    assert writer.commit(artifact)["fileCount"] == 2
    listed = files_of(writer, artifact)
    got = {e["node"]["name"]: send("GET", e["node"]["directUrl"])[1] for e in listed["files"]["edges"]}
    assert got == {"a": b"0", "b": b"2"}
    manifest = json.loads(send("GET", listed["currentManifest"]["file"]["directUrl"])[1])
    assert set(manifest["contents"]) == {"a", "b"}


def test_several_writers_may_share_one_version(writer: ArtifactWriter) -> None:
    for path in ("a", "b"):
        data = path.encode()
        artifact = writer.create("ds", canonical_digest({path: md5_b64(data)}), distributedID="job-1")["id"]
        births = writer.upload(artifact, {path: data})
        entry = {"digest": md5_b64(data), "size": 1, "birthArtifactID": births[path]}
        writer.upload_manifest(artifact, manifest_of({path: entry}), kind="PATCH")
    committed = writer.commit(artifact)
    assert (committed["versionIndex"], committed["fileCount"]) == (0, 2)


def test_a_large_file_comes_in_parts(writer: ArtifactWriter) -> None:
    parts = [b"a" * 1000, b"b" * 1000, b"c"]
    whole = b"".join(parts)
    artifact = writer.create("ds", canonical_digest({"big": md5_b64(whole)}))["id"]
    wanted = [
        {"partNumber": number, "hexMD5": hashlib.md5(part).hexdigest()}
        for number, part in enumerate(parts, 1)
    ]
    (node,) = writer.file_nodes(artifact, {"big": whole}, uploadPartsInput=wanted)
    upload = node["uploadMultipartUrls"]
    completed = []
    for part, url in zip(parts, upload["uploadUrlParts"], strict=True):
        status, _ = send("PUT", url["uploadUrl"], part, {"Content-MD5": md5_b64(part)})
        assert status == 200
        completed.append({"partNumber": url["partNumber"], "hexMD5": f'"{hashlib.md5(part).hexdigest()}"'})
    query = """mutation ($input: CompleteMultipartUploadArtifactInput!) {
        completeMultipartUploadArtifact(input: $input) { digest } }"""
    given = {
        "artifactID": artifact,
        "completeMultipartAction": "Complete",
        "completedParts": completed,
        "storagePath": node["storagePath"],
        "uploadID": upload["uploadID"],
    }
    wrong = [{**completed[0], "hexMD5": "0" * 32}, *completed[1:]]
    status, message = writer.refused(query, {**given, "completedParts": wrong})
    assert (status, message.partition(":")[0]) == (400, "InvalidPart")
    assert writer.ask(query, **given)["completeMultipartUploadArtifact"]["digest"] == md5_b64(whole)
    writer.upload_manifest(
        artifact, manifest_of({"big": {"digest": md5_b64(whole), "birthArtifactID": artifact}})
    )
    assert writer.commit(artifact)["size"] == len(whole)


def test_files_can_be_had_by_digest_with_a_key(writer: ArtifactWriter) -> None:
    artifact = writer.log("ds", {"dir/a.txt": b"content"})["id"]
    digest = hashlib.md5(b"content").hexdigest()
    place = f"ann/{writer.project}/ds"
    for path in (
        f"/artifacts/ann/{digest}",
        f"/artifactsV2/default/{place}/{artifact}/{digest}/a.txt",
        f"/artifactsV2/default/{place}/{artifact}/{artifact}/{digest}/a.txt",
    ):
        assert get(writer.sandbox, path) == (200, b"content")
        assert get(writer.sandbox, path, key=writer.sandbox.keys["bob"])[0] == 404
        assert get(writer.sandbox, path, key="0" * 40)[0] == 401


def get(sandbox: RunningSandbox, path: str, key: str | None = None) -> tuple[int, bytes]:
    basic = base64.b64encode(f"api:{key or sandbox.api_key}".encode()).decode()
    return send("GET", sandbox.url + path, headers={"Authorization": f"Basic {basic}"})


# -- aliases, links, deletion


def test_an_alias_is_unique_in_its_collection(writer: ArtifactWriter) -> None:
    first, second = (writer.log("ds", {"a": data})["id"] for data in (b"0", b"1"))
    best = {
        "alias": "best",
        "artifactCollectionName": "ds",
        "entityName": "ann",
        "projectName": writer.project,
    }
    for artifact, version in ((first, 0), (second, 1)):
        assert writer.ask(ALIASES, artifactID=artifact, aliases=[best])["addAliases"]["success"]
        assert writer.version_of("ds:best") == version
    assert (
        "version number"
        in writer.refused(ALIASES, {"artifactID": first, "aliases": [{**best, "alias": "v7"}]})[1]
    )


def test_a_version_with_aliases_is_deleted_only_on_request(writer: ArtifactWriter) -> None:
    writer.log("ds", {"a": b"0"})
    artifact = writer.log("ds", {"a": b"1"})["id"]
    status, message = writer.refused(DELETE, {"artifactID": artifact})
    assert status == 409
    assert "latest" in message
    assert writer.ask(DELETE, artifactID=artifact, deleteAliases=True) == {
        "deleteArtifact": {"artifact": {"state": "DELETED"}}
    }
    assert writer.version_of("ds:v1") is None
    assert writer.log("ds", {"a": b"2"})["versionIndex"] == 2, "a number is never given twice"


def test_deleted_content_stays_while_another_version_has_it(writer: ArtifactWriter) -> None:
    first = writer.log("ds", {"a": b"kept", "b": b"dropped"})["id"]
    second = writer.log("ds", {"a": b"kept"})["id"]
    urls = [edge["node"]["directUrl"] for edge in files_of(writer, first)["files"]["edges"]]
    writer.ask(DELETE, artifactID=first, deleteAliases=True)
    assert [send("GET", url)[0] for url in urls] == [200, 404]
    writer.ask(DELETE, artifactID=second, deleteAliases=True)
    assert [send("GET", url)[0] for url in urls] == [404, 404]


def test_a_deleted_collection_frees_its_name(writer: ArtifactWriter) -> None:
    first = writer.log("ds", {"a": b"0"})
    sequence = writer.create("ds", "0" * 32)["artifactSequence"]["id"]
    query = """mutation ($input: DeleteArtifactSequenceInput!) {
        deleteArtifactSequence(input: $input) { artifactCollection { __typename state } } }"""
    answer = writer.ask(query, artifactSequenceID=sequence)["deleteArtifactSequence"]["artifactCollection"]
    assert answer == {"__typename": "ArtifactSequence", "state": "DELETED"}
    assert writer.membership("ds:v0") is None
    again = writer.log("ds", {"a": b"0"})
    assert again["versionIndex"] == 0
    assert again["id"] != first["id"]


def test_a_link_has_a_number_and_aliases_of_its_own(writer: ArtifactWriter) -> None:
    writer.log("ds", {"a": b"0"})
    artifact = writer.log("ds", {"a": b"1"})["id"]
    given = {
        "artifactID": artifact,
        "artifactPortfolioName": "approved",
        "entityName": "ann",
        "projectName": writer.project,
        "aliases": [{"alias": "prod", "artifactCollectionName": "approved"}],
    }
    linked = writer.ask(LINK, **given)["linkArtifact"]
    assert linked["versionIndex"] == 0
    assert linked["artifactMembership"]["artifactCollection"]["__typename"] == "ArtifactPortfolio"
    assert writer.ask(LINK, **given)["linkArtifact"]["versionIndex"] == 0, "linked again, it is the same link"
    assert writer.version_of("approved:prod") == 0
    assert writer.version_of("ds:prod") is None
    assert "nothing can be linked" in writer.refused(LINK, {**given, "artifactPortfolioName": "ds"})[1]
    unlink = "mutation ($input: UnlinkArtifactInput!) { unlinkArtifact(input: $input) { success } }"
    portfolio = linked["artifactMembership"]["artifactCollection"]["id"]
    assert writer.ask(unlink, artifactID=artifact, artifactPortfolioID=portfolio)["unlinkArtifact"]["success"]
    assert writer.membership("approved:v0") is None
    assert writer.version_of("ds:v1") == 1


def test_collections_are_filtered_ordered_and_paged(writer: ArtifactWriter) -> None:
    for name in ("beta", "alpha", "gamma"):
        writer.log(name, {"a": name.encode()})
    query = """query ($p: String, $filters: JSONString, $order: String, $first: Int, $after: String) {
        project(name: $p) {
        artifactCollections(filters: $filters, order: $order, first: $first, after: $after) {
        totalCount edges { node { name } } } } }"""

    def names(**arguments: Any) -> list[str]:
        found = writer.sandbox.graphql(query, p=writer.project, **arguments)["project"]["artifactCollections"]
        return [edge["node"]["name"] for edge in found["edges"]]

    assert names() == ["gamma", "alpha", "beta"], "the newest first"
    assert names(order="name") == ["alpha", "beta", "gamma"]
    assert names(order="-name", first=2) == ["gamma", "beta"]
    assert names(filters='{"name": {"$in": ["beta", "alpha"]}}', order="+created_at") == ["beta", "alpha"]
    status, _ = writer.sandbox.ask(query, p=writer.project, order="color")
    assert status == 400


def test_versions_that_are_committed_at_the_same_time_get_numbers_without_gaps(
    writer: ArtifactWriter,
) -> None:
    with ThreadPoolExecutor(8) as pool:
        logged = list(pool.map(lambda i: writer.log("ds", {"a": str(i).encode()}), range(16)))
    assert sorted(artifact["versionIndex"] for artifact in logged) == list(range(16))
    assert writer.version_of("ds:latest") == 15


@pytest.mark.parametrize(
    ("given", "seconds", "inherited"), [(60, 60, False), (-1, -1, True), (-2, -2, False), (None, 5, False)]
)
def test_a_time_to_live_is_set_inherited_or_switched_off(
    writer: ArtifactWriter, given: int | None, seconds: int, inherited: bool
) -> None:
    artifact = writer.log("ds", {"a": b"0"}, ttlDurationSeconds=5)["id"]
    query = """mutation ($input: UpdateArtifactInput!) { updateArtifact(input: $input) { artifact {
        ttlDurationSeconds ttlIsInherited } } }"""
    changed = writer.ask(query, artifactID=artifact, ttlDurationSeconds=given)["updateArtifact"]["artifact"]
    assert changed == {"ttlDurationSeconds": seconds, "ttlIsInherited": inherited}


def test_a_collection_moves_to_another_type(writer: ArtifactWriter) -> None:
    sequence = writer.create("ds", "0" * 32)["artifactSequence"]["id"]
    move = """mutation ($input: MoveArtifactSequenceInput!) { moveArtifactSequence(input: $input) {
        artifactCollection { defaultArtifactType { name } } } }"""
    given = {"artifactSequenceID": sequence, "destinationArtifactTypeName": "model"}
    assert writer.refused(move, given)[0] == 404
    create = """mutation ($input: CreateArtifactTypeInput!) { createArtifactType(input: $input) {
        artifactType { id name } } }"""
    where = {"entityName": "ann", "projectName": writer.project}
    writer.ask(create, name="model", **where)
    assert writer.refused(create, {"name": "model", **where})[0] == 409
    moved = writer.ask(move, **given)["moveArtifactSequence"]["artifactCollection"]
    assert moved == {"defaultArtifactType": {"name": "model"}}
    assert writer.log("ds", {"a": b"0"}, artifactTypeName="model")["versionIndex"] == 0


def test_a_call_takes_twenty_tags_of_a_collection_at_most(writer: ArtifactWriter) -> None:
    writer.log("ds", {"a": b"0"})
    query = """mutation ($input: CreateArtifactCollectionTagAssignmentsInput!) {
        createArtifactCollectionTagAssignments(input: $input) { tags { name } } }"""
    where = {"entityName": "ann", "projectName": writer.project, "artifactCollectionName": "ds"}
    tags = [{"tagName": f"tag {number:02}"} for number in range(21)]
    assert "at most 20" in writer.refused(query, {**where, "tags": tags})[1]
    added = writer.ask(query, **where, tags=tags[:20])["createArtifactCollectionTagAssignments"]["tags"]
    assert added == [{"name": tag["tagName"]} for tag in tags[:20]]
