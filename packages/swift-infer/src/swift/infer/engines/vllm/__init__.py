"""vLLM in this process: its engine core and workers are child processes of ours, our threads feed them.

config: keys; start, arguments, formats: how it starts, and on what; engine: the engine; loop: the thread
that vLLM's asynchronous parts live in; answer: one request; limits, prompts, sampling, deltas: what goes in
and out of it; adapters: LoRA; weights, worker: new weights while it runs.
"""
