"""What is minimised: one small objective a file, pure functions beside them."""
