"""One YAML file, checked key by key before anything is loaded."""
