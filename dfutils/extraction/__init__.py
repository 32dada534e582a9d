"""Videos and images to face datasets."""
