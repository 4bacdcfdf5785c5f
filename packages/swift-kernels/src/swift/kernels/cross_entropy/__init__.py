"""Cross-entropy of a linear head without its logits. Loads torch; swift.kernels does not."""
