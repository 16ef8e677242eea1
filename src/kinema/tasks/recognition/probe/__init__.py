"""Linear and attentive probes: the last layers of a network, trained on cached features of the frozen rest."""
