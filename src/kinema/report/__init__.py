"""Pictures and answers of models."""
