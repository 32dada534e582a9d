"""How the shipped detector was made: recipe, protocol and measurements. It needs data that are not part of this project."""
