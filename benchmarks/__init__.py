"""Scripts that measure what the pages quote. Each runs on a fresh clone; README.md lists them."""
