"""Grading models: benchmarks and own questions through EvalScope, load tests, figures beside each other."""
