"""Results as Markdown tables and pages."""
