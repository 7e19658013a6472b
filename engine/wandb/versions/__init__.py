"""Writing artifact versions: entries, digests, manifests, parts."""
