"""Writing histories: from points to rows, and from rows into the file stream."""
