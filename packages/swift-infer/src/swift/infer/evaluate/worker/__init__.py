"""The process in which EvalScope runs: it changes logging and environment, and is slow to import."""
