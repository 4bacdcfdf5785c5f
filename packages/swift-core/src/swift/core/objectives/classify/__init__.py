"""Sequence classification: one label, several labels, or a number for a whole text."""
