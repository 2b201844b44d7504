"""The typed configuration: every key declared once, with its type, bounds, default and meaning."""
