"""BSN (Lin et al., ECCV 2018): TEM, the candidates between its boundaries, PEM, and the pipeline of the three."""
