"""GraphQL: execution, scalars, ids, and lists with filters, orders and pages."""
