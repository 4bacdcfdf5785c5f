"""The routes, one group a file; each offers add_GROUP(app, ...) that server.app calls.

generation: chat and completions; models: what is offered; status: how the server is.
"""
