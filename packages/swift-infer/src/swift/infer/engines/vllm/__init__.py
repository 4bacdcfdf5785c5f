"""vLLM in this process: its engine core and workers are child processes of ours, our threads feed them.

config: keys; start, arguments, formats: how it starts, and on what; engine: the engine; core, loop: vLLM in
the thread that its asynchronous parts live in; answer: one request; limits, prompts, sampling, deltas: what
goes in and out of it; adapters, base_rows: LoRA; weights, worker: new weights while it runs.
"""
