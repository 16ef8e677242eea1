"""Synthetic videos and features, and a Memcached server, to measure with."""
