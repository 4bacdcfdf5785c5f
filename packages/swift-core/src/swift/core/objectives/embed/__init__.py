"""Texts as vectors, near to each other where the texts are related."""
