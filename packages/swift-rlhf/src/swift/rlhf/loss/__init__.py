"""Losses of preference pairs as pure functions."""
