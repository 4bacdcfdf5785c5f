"""Prompt and prefix tuning."""
