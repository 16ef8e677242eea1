"""Predictions of models as files, plots and rendered videos."""
