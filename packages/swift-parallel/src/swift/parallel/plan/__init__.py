"""What a run needs before it starts: parameters and memory, computed without weights."""
