"""How the shipped detector was made and chosen, on research data that are not part of this project; see README.md."""
