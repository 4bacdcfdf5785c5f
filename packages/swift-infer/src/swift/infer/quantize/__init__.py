"""Smaller weights: one folder a method, one contract for all."""
