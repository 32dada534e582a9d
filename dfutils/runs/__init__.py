"""Run folders: what a training leaves behind, typed, checked and calibrated."""
