"""VeRA."""
