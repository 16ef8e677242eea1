"""Published weights by name, `zoo:NAME` and `hf:ORG/NAME`: downloaded once, checked, converted, kept in the cache."""
