"""Users, entities and keys: who asks, and what they may."""
