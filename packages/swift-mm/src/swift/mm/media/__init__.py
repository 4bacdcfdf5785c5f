"""Files, URLs and raw values to what a processor reads."""
