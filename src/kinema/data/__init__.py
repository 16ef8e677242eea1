"""Samples in, batches out: index → source → sampling → decode → transforms → batch."""
