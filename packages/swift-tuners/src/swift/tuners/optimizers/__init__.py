"""Optimisers with less memory, or in a low-rank space."""
