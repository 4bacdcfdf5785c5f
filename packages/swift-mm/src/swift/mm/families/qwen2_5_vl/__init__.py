"""Qwen2.5-VL (arXiv 2502.13923): patches of any image size, positions in time, height and width."""
