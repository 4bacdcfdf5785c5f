"""Models: short names, where weights come from, loading, tiny ones by name, attention over boundaries."""
