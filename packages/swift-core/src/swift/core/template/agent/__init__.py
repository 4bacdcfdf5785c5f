"""Named agent formats: tools, calls and results as text, for models whose chat template knows no tools."""
