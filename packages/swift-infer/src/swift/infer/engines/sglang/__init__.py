"""The engine behind infer.engine=sglang."""
