"""Measure verdicts: metrics, slices, baselines, behaviour tests and stress tests."""
