"""Scripts that measure what the documentation quotes, and their results."""
