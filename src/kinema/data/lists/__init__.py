"""Lists of videos: annotations, class folders, tables."""
