"""Vectors of texts and relevance of documents, as the training objectives compute them.

record: what the run that made a model says of it; texts: texts to tokens; forward: tokens to vectors or
scores; encoder: many requests at once; load: from a configuration.
"""
