"""Tiny models of real architectures with random weights, and their tokenizer: everything runs without a network."""
