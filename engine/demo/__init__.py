"""The first thing a newcomer runs: a sample store, a rehearsal server, and a migration that is checked."""
