"""Publish face datasets, notebooks, models and the package on Kaggle, and the web page as a Space."""
