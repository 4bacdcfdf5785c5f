"""How much each piece of an assistant's turn counts in the loss; one strategy a file."""
