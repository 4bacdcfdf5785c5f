"""Starting the ranks of a run on this machine, and ending them together."""
