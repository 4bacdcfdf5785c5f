"""Engines behind HTTP: one client, and one dialect for each API that is spoken."""
