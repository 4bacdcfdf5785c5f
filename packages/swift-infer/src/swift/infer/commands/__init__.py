"""Commands; each module imports click alone until its command runs."""
