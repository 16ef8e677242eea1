"""What models are trained for: a folder each, independent of each other."""
