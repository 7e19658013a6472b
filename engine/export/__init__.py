"""What people take out for analysis: an archive, and tables made of it. See ``docs/export.md``."""
