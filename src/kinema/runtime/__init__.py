"""Device, precision, memory format, compilation and processes."""
