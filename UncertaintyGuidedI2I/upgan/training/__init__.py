"""Progressive training of the cascade."""
