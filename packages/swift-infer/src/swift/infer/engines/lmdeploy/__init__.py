"""The engine behind infer.engine=lmdeploy."""
