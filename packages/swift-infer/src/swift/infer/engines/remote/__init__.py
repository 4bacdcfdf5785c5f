"""The engine behind infer.engine=remote."""
