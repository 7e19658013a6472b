"""A W&B-protocol server on loopback for rehearsals, the demo and tests.

It shares no code with ``engine.wandb``, so that client and server cannot share a bug.
"""

from engine.sandbox.accounts.accounts import Account
from engine.sandbox.server import Sandbox, serve

__all__ = ["Account", "Sandbox", "serve"]
