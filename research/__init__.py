"""How the shipped detector was made: recipe, protocol and measurements, on data that are not part of this project."""
