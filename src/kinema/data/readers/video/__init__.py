"""Video files: frames in presentation order, upright, in RGB, and their presentation times."""
