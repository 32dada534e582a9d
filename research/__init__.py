"""Training the next detector: recipe, protocol and measurements, on data that are not part of this project."""
