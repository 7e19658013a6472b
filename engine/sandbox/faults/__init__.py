"""Bad days on demand: limits, latency, broken connections, wrong answers, by rules that read as sentences.

    objects PUT: limit 50/s
    graphql upsertBucket: 409 once
    any: 503 from 10s for 30s

``docs/rehearsing-bad-days.md`` describes the language, ``language.py`` reads it.
"""

from engine.sandbox.faults.injector import Faults
from engine.sandbox.faults.language import BadRule

__all__ = ["BadRule", "Faults"]
