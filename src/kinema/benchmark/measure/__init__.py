"""Timing of training steps, memory and hardware."""
