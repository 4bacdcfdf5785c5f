"""The whole story on a laptop without a network: pre-train, fine-tune, align, merge, serve, report."""
