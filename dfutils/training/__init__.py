"""Face datasets to trained detectors."""
