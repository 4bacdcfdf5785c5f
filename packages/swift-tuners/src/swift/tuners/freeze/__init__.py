"""Training a part of the layers."""
