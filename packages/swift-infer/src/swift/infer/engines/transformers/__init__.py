"""The embedded engine: continuous batching over a live transformers model, which it shares and never copies.

config: its keys; model: what is asked of the model; pages: keys and values of rows of any length, for native
code; cache, masks: the same by padded row, for everything else; caches: which of the two; attention: over
both; linears: weights read where they lie; prefill: a pass over prompts; prefixes: what earlier ones left;
reading: passes in turn; sampler: tokens from logits; detokenize: text from tokens; sequence: one request;
batcher: one step for all; driver: who makes the steps; engine: what others see; mail: deltas to whoever
waits.
"""
