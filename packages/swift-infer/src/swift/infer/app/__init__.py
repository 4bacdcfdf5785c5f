"""The chat page in a browser: a client of an OpenAI-compatible server, its own or another's.

client: what is asked of the server; history: turns of the page as messages; page: what a person sees.
"""
