"""OpenAI-compatible HTTP server in front of any engine.

schema: what goes in and out; errors: what clients read when it fails; served: a model on offer;
generate: streams of several choices; chat, completions: the two endpoints; tools: tool calls in text;
sse: events; respond: from deltas to what is sent; routes: the endpoints;
app: all of it together; run: the process.
"""
