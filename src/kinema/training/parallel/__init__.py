"""Training in several processes: what they exchange, stop requests, sharded weights."""
