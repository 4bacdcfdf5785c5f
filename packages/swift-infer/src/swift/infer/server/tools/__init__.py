"""Tool calls of chats, in the agent format that the model was trained with.

detect: which format a chat template writes; syntax: how its calls are written, seen by writing some; stream:
calls out of text as it comes; enforce: a grammar that leaves the model no choice but to call.
"""
