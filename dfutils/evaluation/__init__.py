"""Verdicts to metrics, figures and reports."""
