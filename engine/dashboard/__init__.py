"""What people see of transfers, from session logs and ledgers: the report, and the model behind it."""
