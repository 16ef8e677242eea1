"""ActivityNet-format annotations and results, and their metrics."""
