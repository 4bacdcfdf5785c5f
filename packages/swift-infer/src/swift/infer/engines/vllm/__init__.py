"""The engine behind infer.engine=vllm."""
