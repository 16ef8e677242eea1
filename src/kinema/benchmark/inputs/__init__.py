"""Synthetic videos, and a Memcached server, to measure with."""
