"""Parts run on synthetic values: one module a kind, each with `checks(component, config)`."""
