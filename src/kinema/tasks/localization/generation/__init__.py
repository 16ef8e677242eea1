"""Proposals from the outputs of networks, and their labels."""
