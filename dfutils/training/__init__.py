"""Training of detectors on face datasets."""
