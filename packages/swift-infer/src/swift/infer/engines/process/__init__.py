"""Servers of other engines as processes of ours: started, watched, spoken to over HTTP, ended."""
