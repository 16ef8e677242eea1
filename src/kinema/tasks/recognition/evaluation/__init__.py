"""Measuring recognizers: scores of videos, metrics, calibration, ensembles."""
