"""OpenAI-compatible HTTP server in front of any engine.

schema: what goes in and out; errors: what clients read when it fails; served: a model on offer;
generate: streams of several choices; chat, completions: the two endpoints; tools: tool calls in text;
app: routes; run: the process.
"""
