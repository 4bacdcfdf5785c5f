"""What alignment minimises: one folder an objective."""
