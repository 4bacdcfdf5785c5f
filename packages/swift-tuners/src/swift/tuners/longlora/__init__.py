"""LongLoRA."""
