"""Feature sequences of videos: files, time spans, rescaling."""
