"""The public API without ``await``, in the spelling of W&B's SDK; works in scripts, threads and notebooks.

import engine.sync

api = engine.sync.Api()
run = api.run("entity/project/run_id")
run.config["reviewed"] = True
run.update()

Everything is done by the asynchronous ``engine.Api`` on an event loop in a thread of its own; see there for
what arguments mean and what is raised.
"""

from engine.sync.api import Api
from engine.sync.run import Run, Summary
from engine.sync.runs import Runs
from engine.sync.things import Artifact, Collection, File, Sweep

__all__ = ["Api", "Artifact", "Collection", "File", "Run", "Runs", "Summary", "Sweep"]
