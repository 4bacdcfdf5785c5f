"""Tiny models of real architectures with random weights, and their tokenizer: no network needed."""
