"""What W&B holds of what it was given, for the verification of a transfer."""
