"""AdaLoRA."""
