"""The embedded engine: continuous batching over a live transformers model, which it shares and never copies.

config: its keys; model: what is asked of the model; cache, masks, attention: keys and values by row;
prefill: prompts; sampler: tokens from logits; detokenize: text from tokens; sequence: one request;
batcher: the loop; engine: threads.
"""
