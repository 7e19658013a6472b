"""Proof that what is at the destination is what the source has: comparing, and certificates of it."""
