"""Web page and JSON API of a model."""
