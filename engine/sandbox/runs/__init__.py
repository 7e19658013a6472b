"""Runs: their records, histories, files and lists."""
