"""Sweeps, and the agents that run them."""
