"""Which parameters train: LoRA and its family, freezing, merging."""
