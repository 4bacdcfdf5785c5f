"""A score for a query and a document, from the answer yes or no of a causal language model."""
