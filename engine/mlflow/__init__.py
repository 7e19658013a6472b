"""All of MLflow: readers for every kind of store, and what their fields mean."""
