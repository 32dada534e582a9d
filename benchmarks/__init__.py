"""Scripts that print the figures the README quotes, and the figures themselves."""
