"""The pages of a sandbox, to look at what arrived."""
