"""Writing collections: versions under the numbers that they had, with their names and their lineage."""
