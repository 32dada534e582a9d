"""The first release of the shipped detector: recipe, measurements, and the package data made from it."""
