"""FP8 weights and activations."""
