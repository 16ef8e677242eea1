"""Detectors without proposals: ActionFormer and TriDet, which tell what happens at the points of a pyramid."""
