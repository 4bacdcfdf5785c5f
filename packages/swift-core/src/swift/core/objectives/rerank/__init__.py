"""A score for a query and a document, from a classification head."""
