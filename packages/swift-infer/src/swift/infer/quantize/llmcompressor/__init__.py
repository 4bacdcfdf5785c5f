"""llm-compressor as another implementation, in an environment of its own."""
