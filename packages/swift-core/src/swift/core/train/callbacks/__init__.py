"""Callbacks that YAML names under train.callbacks, and the contract of one that needs the trainer."""
