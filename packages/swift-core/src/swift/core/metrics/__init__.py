"""What is measured on held-out data beside the loss: one metric a file, pure functions."""
