"""MLflow: tracking servers, databases and file stores as a source."""

from engine.mlflow.source import MlflowSource
from engine.protocols import System

SYSTEM = System(source=MlflowSource)
