"""What was moved, on disk: items, proofs, locks and who shares the work."""
