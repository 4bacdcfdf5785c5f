"""bitsandbytes NF4."""
