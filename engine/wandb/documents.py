"""The GraphQL operations that are sent, each selecting only what is read.

Source: ``core/api/graphql/*.graphql`` and ``wandb/sdk/artifacts/_generated/operations.py`` of the SDK.
"""

from __future__ import annotations

from typing import Final


def runs_document(operation: str, fields: str) -> str:
    """A query for pages of the runs of a project, and how many there are."""
    return f"""
query {operation}(
  $entity: String!, $project: String!, $cursor: String, $perPage: Int!, $order: String, $filters: JSONString
) {{
  project(name: $project, entityName: $entity) {{
    runCount(filters: $filters)
    runs(filters: $filters, after: $cursor, first: $perPage, order: $order) {{
      edges {{ cursor node {{ {fields} }} }}
      pageInfo {{ endCursor hasNextPage }}
    }}
  }}
}}
"""


CONNECT: Final = """
query Connect {
  viewer { id entity username teams { edges { node { name } } } }
  serverInfo { features { name isEnabled } }
}
"""

VIEWER: Final = """
query Viewer {
  viewer { id entity username teams { edges { node { name } } } }
}
"""

ENTITY: Final = """
query Entity($name: String!) {
  entity(name: $name) { id name readOnly }
}
"""

PROJECT: Final = """
query Project($entity: String!, $project: String!) {
  project(name: $project, entityName: $entity) { id name readOnly }
}
"""

UPSERT_PROJECT: Final = """
mutation UpsertModel($entity: String!, $project: String!, $description: String) {
  upsertModel(input: { entityName: $entity, name: $project, description: $description }) {
    project { id name entityName }
    inserted
  }
}
"""

UPSERT_RUN: Final = """
mutation UpsertBucket(
  $name: String, $project: String, $entity: String, $groupName: String, $displayName: String, $notes: String,
  $commit: String, $config: JSONString, $host: String, $program: String, $repo: String, $jobType: String,
  $state: String, $tags: [String!], $summaryMetrics: JSONString, $sweep: String
) {
  upsertBucket(input: {
    name: $name, modelName: $project, entityName: $entity, groupName: $groupName, displayName: $displayName,
    notes: $notes, commit: $commit, config: $config, host: $host, jobProgram: $program, jobRepo: $repo,
    jobType: $jobType, state: $state, tags: $tags, summaryMetrics: $summaryMetrics, sweep: $sweep
  }) {
    bucket { id name displayName notes group jobType historyLineCount project { name entity { name } } }
    inserted
  }
}
"""

REWIND_RUN: Final = """
mutation RewindRun($entity: String!, $project: String!, $run: String!, $step: Float!) {
  rewindRun(input: {
    entityName: $entity, projectName: $project, runName: $run, metricName: "_step", metricValue: $step
  }) { rewoundRun { historyLineCount } }
}
"""

UPDATE_RUN_STATE: Final = """
mutation UpdateRunState($id: ID!, $state: String!) {
  updateRunState(input: { id: $id, state: $state }) { success }
}
"""

RUN_ORIGINS: Final = """
query RunOrigins($entity: String!, $project: String!, $filters: JSONString, $first: Int) {
  project(name: $project, entityName: $entity) {
    runs(filters: $filters, first: $first) { edges { node { name config(keys: ["_import"]) } } }
  }
}
"""

CREATE_RUN_FILES: Final = """
mutation CreateRunFiles($entity: String!, $project: String!, $run: String!, $files: [String!]!) {
  createRunFiles(input: { entityName: $entity, projectName: $project, runName: $run, files: $files }) {
    uploadHeaders
    files { name uploadUrl }
  }
}
"""

CREATE_ARTIFACT: Final = """
mutation CreateArtifact($input: CreateArtifactInput!) {
  createArtifact(input: $input) {
    artifact { id state versionIndex artifactSequence { id latestArtifact { id versionIndex } } }
  }
}
"""

CREATE_MANIFEST: Final = """
mutation CreateArtifactManifest(
  $artifactID: ID!, $baseArtifactID: ID, $digest: String!, $entity: String!, $project: String!, $run: String!,
  $includeUpload: Boolean!
) {
  createArtifactManifest(input: {
    artifactID: $artifactID, baseArtifactID: $baseArtifactID, name: "wandb_manifest.json", digest: $digest,
    entityName: $entity, projectName: $project, runName: $run, type: FULL
  }) {
    artifactManifest { id file @include(if: $includeUpload) { id uploadUrl uploadHeaders } }
  }
}
"""

CREATE_ARTIFACT_FILES: Final = """
mutation CreateArtifactFiles($files: [CreateArtifactFileSpecInput!]!, $layout: ArtifactStorageLayout!) {
  createArtifactFiles(input: { artifactFiles: $files, storageLayout: $layout }) {
    files {
      edges {
        node {
          storagePath uploadUrl uploadHeaders artifact { id }
          uploadMultipartUrls { uploadID uploadUrlParts { partNumber uploadUrl } }
        }
      }
    }
  }
}
"""

COMPLETE_MULTIPART: Final = """
mutation CompleteMultipartUpload(
  $artifactID: ID!, $storagePath: String!, $uploadID: String!, $parts: [UploadPartsInput!]!
) {
  completeMultipartUploadArtifact(input: {
    completeMultipartAction: Complete, completedParts: $parts, artifactID: $artifactID,
    storagePath: $storagePath, uploadID: $uploadID
  }) { digest }
}
"""

COMMIT_ARTIFACT: Final = """
mutation CommitArtifact($artifactID: ID!) {
  commitArtifact(input: { artifactID: $artifactID }) { artifact { id digest versionIndex } }
}
"""

UPDATE_ARTIFACT: Final = """
mutation UpdateArtifact($input: UpdateArtifactInput!) {
  updateArtifact(input: $input) { artifact { id } }
}
"""

ADD_ALIASES: Final = """
mutation AddAliases($id: ID!, $aliases: [ArtifactCollectionAliasInput!]!) {
  addAliases(input: { artifactID: $id, aliases: $aliases }) { success }
}
"""

DELETE_ALIASES: Final = """
mutation DeleteAliases($id: ID!, $aliases: [ArtifactCollectionAliasInput!]!) {
  deleteAliases(input: { artifactID: $id, aliases: $aliases }) { success }
}
"""

DELETE_ARTIFACT: Final = """
mutation DeleteArtifact($id: ID!) {
  deleteArtifact(input: { artifactID: $id, deleteAliases: true }) { artifact { id } }
}
"""

UPDATE_SEQUENCE: Final = """
mutation UpdateArtifactSequence($id: ID!, $description: String!) {
  updateArtifactSequence(input: { artifactSequenceID: $id, description: $description }) {
    artifactCollection { id }
  }
}
"""

UPDATE_PORTFOLIO: Final = """
mutation UpdateArtifactPortfolio($id: ID!, $description: String!) {
  updateArtifactPortfolio(input: { artifactPortfolioID: $id, description: $description }) {
    artifactCollection { id }
  }
}
"""

DELETE_SEQUENCE: Final = """
mutation DeleteArtifactSequence($id: ID!) {
  deleteArtifactSequence(input: { artifactSequenceID: $id }) { artifactCollection { state } }
}
"""

LINK_ARTIFACT: Final = """
mutation LinkArtifact($input: LinkArtifactInput!) {
  linkArtifact(input: $input) { versionIndex artifactCollectionID }
}
"""

UNLINK_ARTIFACT: Final = """
mutation UnlinkArtifact($input: UnlinkArtifactInput!) {
  unlinkArtifact(input: $input) { success }
}
"""

# A personal entity has no organisation of its own; its user may be in several.
ORGANIZATIONS: Final = """
query OrganizationsOfEntity($entity: String!) {
  entity(name: $entity) {
    organization { name orgEntity { name } }
    user { organizations { name orgEntity { name } } }
  }
}
"""

CREATE_REGISTRY: Final = """
mutation CreateRegistry($input: UpsertModelInput!) {
  upsertModel(input: $input) { inserted }
}
"""

ARTIFACT_TYPE: Final = """
query ArtifactTypeOfProject($entity: String!, $project: String!, $type: String!) {
  project(name: $project, entityName: $entity) { artifactType(name: $type) { id } }
}
"""

CREATE_ARTIFACT_TYPE: Final = """
mutation CreateArtifactType($entity: String!, $project: String!, $type: String!) {
  createArtifactType(input: { entityName: $entity, projectName: $project, name: $type }) {
    artifactType { id }
  }
}
"""

CREATE_PORTFOLIO: Final = """
mutation CreateArtifactPortfolio(
  $entity: String!, $project: String!, $name: String!, $typeID: ID!, $description: String
) {
  createArtifactPortfolio(input: {
    entityName: $entity, projectName: $project, name: $name, description: $description
    artifactTypeID: $typeID
  }) { artifactCollection { id } }
}
"""

ADD_COLLECTION_TAGS: Final = """
mutation AddCollectionTags($entity: String!, $project: String!, $name: String!, $tags: [TagInput!]!) {
  createArtifactCollectionTagAssignments(input: {
    entityName: $entity, projectName: $project, artifactCollectionName: $name, tags: $tags
  }) { tags { id } }
}
"""

DELETE_COLLECTION_TAGS: Final = """
mutation DeleteCollectionTags($entity: String!, $project: String!, $name: String!, $tags: [TagInput!]!) {
  deleteArtifactCollectionTagAssignments(input: {
    entityName: $entity, projectName: $project, artifactCollectionName: $name, tags: $tags
  }) { success }
}
"""

USE_ARTIFACT: Final = """
mutation UseArtifact($input: UseArtifactInput!) {
  useArtifact(input: $input) { artifact { id } }
}
"""

DELETE_RUN: Final = """
mutation DeleteRun($id: ID!) {
  deleteRun(input: { id: $id, deleteArtifacts: false }) { clientMutationId }
}
"""

RUNS_OF_GROUP: Final = """
query RunsOfGroup($entity: String!, $project: String!, $filters: JSONString, $first: Int) {
  project(name: $project, entityName: $entity) {
    runs(filters: $filters, first: $first) { edges { node { id name } } }
  }
}
"""

VERSION_ID: Final = """
query VersionId($entity: String!, $project: String!, $name: String!) {
  project(name: $project, entityName: $entity) {
    artifactCollectionMembership(name: $name) { versionIndex artifact { id state } }
  }
}
"""

MAP_CLIENT_ID: Final = """
mutation MapClientId($clientID: ID!, $serverID: ID!) {
  createClientIDMapping(input: { clientID: $clientID, serverID: $serverID }) { clientIDMapping { serverID } }
}
"""
