"""Trainers by the names people know; each binds one objective to the one trainer."""
