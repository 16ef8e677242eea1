"""Pictures and facts of a dataset: headers of videos, perceptual hashes, contact sheets, histograms."""
