"""A chat in the terminal: its state, the words that begin with a slash, and the loop."""
