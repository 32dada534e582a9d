"""Deepfake detection from motion-chosen face frames, measured honestly."""

__version__ = "0.1.0"
