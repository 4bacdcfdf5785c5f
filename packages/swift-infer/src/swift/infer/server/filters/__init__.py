"""What watches over prompts and answers."""
