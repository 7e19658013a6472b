"""Artifacts: versions, their contents, collections, links and lineage."""
