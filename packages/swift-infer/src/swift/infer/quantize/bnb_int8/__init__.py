"""bitsandbytes LLM.int8()."""
