"""Generate and serve: continuous batching, an OpenAI-compatible server, chat."""
