"""Rewards: (prompts, completions, **columns) -> one float per completion."""
