"""Face datasets, notebooks and models to Kaggle."""
