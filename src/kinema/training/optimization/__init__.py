"""The optimizer and the schedule of the learning rate."""
