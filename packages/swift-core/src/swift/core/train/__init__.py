"""The one trainer: a thin layer on transformers.Trainer that runs any objective."""
