"""vLLM in this process (its engine core and workers are child processes of ours), or as a server process.

config: keys; sampling, formats, base_rows: of both.
In this process: start, arguments: how it starts; engine: the engine; core, loop: vLLM in the thread that its
asynchronous parts live in; answer: one request; limits, prompts, deltas: what goes in and out; adapters.
As a server: command: how it starts; server: the engine; generate: what goes in and out of it.
worker (in this process), plugin (both): what vLLM's processes import of ours.
"""
