"""LLaMA Pro."""
