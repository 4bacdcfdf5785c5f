"""What vLLM's processes import of ours.

A server in an environment of its own finds this folder on its PYTHONPATH, and nothing else of ours: each
module here stands alone, under a name that no other package has.
"""
