"""The GraphQL operations of the public API, each selecting only what is read.

Source: ``wandb/apis/public`` and ``wandb/sdk/artifacts/_generated/operations.py`` of the SDK.
"""

from __future__ import annotations

from typing import Final

from engine.wandb.documents import runs_document

_RUN_FIELDS: Final = """
  id name displayName state exitcode createdAt heartbeatAt config summaryMetrics tags notes description
  group jobType sweepName host commit historyLineCount user { name username }
"""

RUN: Final = f"""
query Run($entity: String!, $project: String!, $run: String!) {{
  project(name: $project, entityName: $entity) {{ run(name: $run) {{ {_RUN_FIELDS} }} }}
}}
"""

RUNS: Final = runs_document("Runs", _RUN_FIELDS)

RUN_COUNT: Final = """
query RunCount($entity: String!, $project: String!, $filters: JSONString) {
  project(name: $project, entityName: $entity) { runCount(filters: $filters) }
}
"""

UPDATE_RUN: Final = f"""
mutation UpdateRun(
  $id: String!, $displayName: String, $notes: String, $tags: [String!], $groupName: String, $jobType: String,
  $config: JSONString, $summaryMetrics: JSONString
) {{
  upsertBucket(input: {{
    id: $id, displayName: $displayName, notes: $notes, tags: $tags, groupName: $groupName, jobType: $jobType,
    config: $config, summaryMetrics: $summaryMetrics
  }}) {{ bucket {{ {_RUN_FIELDS} }} }}
}}
"""

_OF_RUN: Final = "project(name: $project, entityName: $entity) { run(name: $run) {"

HISTORY_SAMPLE: Final = f"""
query HistorySample($entity: String!, $project: String!, $run: String!, $samples: Int!) {{
  {_OF_RUN} historyLineCount history(samples: $samples) }} }}
}}
"""

VALUES_SAMPLE: Final = f"""
query ValuesSample($entity: String!, $project: String!, $run: String!, $spec: JSONString!) {{
  {_OF_RUN} historyLineCount sampledHistory(specs: [$spec]) }} }}
}}
"""

EVENTS_SAMPLE: Final = f"""
query EventsSample($entity: String!, $project: String!, $run: String!, $samples: Int!) {{
  {_OF_RUN} eventsLineCount events(samples: $samples) }} }}
}}
"""

HISTORY_KEYS: Final = f"""
query HistoryKeys($entity: String!, $project: String!, $run: String!) {{
  {_OF_RUN} historyKeys systemMetrics }} }}
}}
"""

FILES: Final = f"""
query Files(
  $entity: String!, $project: String!, $run: String!, $cursor: String, $perPage: Int!, $names: [String],
  $pattern: String
) {{
  {_OF_RUN}
    projectId
    files(names: $names, pattern: $pattern, after: $cursor, first: $perPage) {{
      edges {{ cursor node {{ id name url directUrl sizeBytes mimetype updatedAt md5 }} }}
      pageInfo {{ endCursor hasNextPage }}
    }}
  }} }}
}}
"""

DELETE_FILES: Final = """
mutation DeleteFiles($files: [ID!]!, $projectId: Int) {
  deleteFiles(input: { files: $files, projectId: $projectId }) { success }
}
"""

MARK_UPLOADED: Final = """
mutation MarkRunFilesUploaded($entity: String!, $project: String!, $run: String!, $files: [String!]!) {
  markRunFilesUploaded(input: { entityName: $entity, projectName: $project, runName: $run, files: $files }) {
    success
  }
}
"""

_ARTIFACT_FIELDS: Final = """
  id versionIndex state digest description metadata createdAt updatedAt size fileCount
  ttlDurationSeconds ttlIsInherited
  tags @include(if: $withTags) { name }
  aliases { alias artifactCollectionName artifactCollection { __typename id } }
  artifactType { name }
  artifactSequence { id name project { name entityName } }
"""

ARTIFACT: Final = f"""
query Artifact($entity: String!, $project: String!, $name: String!, $withTags: Boolean!) {{
  project(name: $project, entityName: $entity) {{ artifact(name: $name) {{ {_ARTIFACT_FIELDS} }} }}
}}
"""

_ARTIFACT_PAGE: Final = f"""
  edges {{ cursor node {{ {_ARTIFACT_FIELDS} }} }}
  pageInfo {{ endCursor hasNextPage }}
"""

LOGGED_ARTIFACTS: Final = f"""
query LoggedArtifacts(
  $entity: String!, $project: String!, $run: String!, $cursor: String, $perPage: Int!, $withTags: Boolean!
) {{
  {_OF_RUN} artifacts: outputArtifacts(after: $cursor, first: $perPage) {{ {_ARTIFACT_PAGE} }} }} }}
}}
"""

USED_ARTIFACTS: Final = f"""
query UsedArtifacts(
  $entity: String!, $project: String!, $run: String!, $cursor: String, $perPage: Int!, $withTags: Boolean!
) {{
  {_OF_RUN} artifacts: inputArtifacts(after: $cursor, first: $perPage) {{ {_ARTIFACT_PAGE} }} }} }}
}}
"""

VERSIONS: Final = f"""
query Versions(
  $entity: String!, $project: String!, $type: String!, $collection: String!, $cursor: String, $perPage: Int!,
  $filters: JSONString, $withTags: Boolean!
) {{
  project(name: $project, entityName: $entity) {{
    artifactType(name: $type) {{
      artifactCollection(name: $collection) {{
        artifacts(after: $cursor, first: $perPage, filters: $filters) {{ {_ARTIFACT_PAGE} }}
      }}
    }}
  }}
}}
"""

_RUN_REF: Final = "name project { name entityName }"

LINEAGE: Final = f"""
query Lineage($id: ID!, $cursor: String, $perPage: Int!) {{
  artifact(id: $id) {{
    createdBy {{ __typename ... on Run {{ {_RUN_REF} }} }}
    usedBy(after: $cursor, first: $perPage) {{
      edges {{ cursor node {{ {_RUN_REF} }} }}
      pageInfo {{ endCursor hasNextPage }}
    }}
  }}
}}
"""

TYPES: Final = """
query Types($entity: String!, $project: String!, $cursor: String, $perPage: Int!) {
  project(name: $project, entityName: $entity) {
    artifactTypes(after: $cursor, first: $perPage) {
      edges { cursor node { name } }
      pageInfo { endCursor hasNextPage }
    }
  }
}
"""

COLLECTIONS: Final = """
query Collections($entity: String!, $project: String!, $cursor: String, $perPage: Int!) {
  project(name: $project, entityName: $entity) {
    artifactCollections(after: $cursor, first: $perPage) {
      edges {
        cursor
        node {
          __typename id name description createdAt
          defaultArtifactType { name }
          aliases(first: 1000) { edges { node { alias } } }
        }
      }
      pageInfo { endCursor hasNextPage }
    }
  }
}
"""

REPORTS: Final = """
query Reports($entity: String!, $project: String!, $cursor: String, $perPage: Int!, $name: String) {
  project(name: $project, entityName: $entity) {
    allViews(viewType: "runs", viewName: $name, after: $cursor, first: $perPage) {
      edges { cursor node { id name displayName description spec createdAt updatedAt user { username } } }
      pageInfo { endCursor hasNextPage }
    }
  }
}
"""

_SWEEP_FIELDS: Final = (
    "id name displayName description state config createdAt bestLoss runCount runCountExpected"
)

SWEEP: Final = f"""
query Sweep($entity: String!, $project: String!, $sweep: String!) {{
  project(name: $project, entityName: $entity) {{ sweep(sweepName: $sweep) {{ {_SWEEP_FIELDS} }} }}
}}
"""

SWEEPS: Final = f"""
query Sweeps($entity: String!, $project: String!, $cursor: String, $perPage: Int!) {{
  project(name: $project, entityName: $entity) {{
    sweeps(after: $cursor, first: $perPage) {{
      edges {{ cursor node {{ {_SWEEP_FIELDS} }} }}
      pageInfo {{ endCursor hasNextPage }}
    }}
  }}
}}
"""
