"""Report of training runs as one self-contained HTML page."""
