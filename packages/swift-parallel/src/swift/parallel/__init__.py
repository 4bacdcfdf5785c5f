"""Where a model trains: launch and data parallel strategies."""
