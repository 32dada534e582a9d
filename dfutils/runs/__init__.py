"""Run folders: the results of training, as typed records that are checked and calibrated."""
