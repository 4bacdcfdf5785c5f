"""LoRA through peft, on plain and on quantised weights."""
