"""Features of videos with their annotations: files, windows, training labels, facts."""
