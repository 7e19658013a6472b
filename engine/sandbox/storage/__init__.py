"""The object store: bytes by key behind presigned URLs, in the words of S3."""
