"""Conversations to tokens and labels, by the tokenizer's own chat template."""
