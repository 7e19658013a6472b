"""How fast, how often again, how much at a time: limits that are learned, retries, outages, budgets."""
