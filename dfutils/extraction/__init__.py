"""Extraction of face datasets from videos and images."""
