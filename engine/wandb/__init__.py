"""All of W&B: the wire protocol, and what it makes of runs, histories and artifacts."""
