"""Training data out of a model's own answers: the best of several, those above a bar, pairs, a teacher's."""
