"""Distributed data parallel: whole copies of the model, gradients averaged after every step."""
