"""Parts of serve.py: the client, the servers, the model they serve."""
