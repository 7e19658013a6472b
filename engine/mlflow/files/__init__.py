"""MLflow's file store (``./mlruns``), parsed without MLflow, whose newer releases refuse to open it."""

from engine.mlflow.files.store import FileStore

__all__ = ["FileStore"]
