"""Projects: records, facts about their runs, deletion."""
