"""Alignment: preference objectives and reinforcement learning from verifiable rewards."""
