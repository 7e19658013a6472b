"""The kernel: moves records from any source to any destination, and knows no vendor."""
