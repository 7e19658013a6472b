"""Reading a W&B server: what each kind of thing is asked by, and what its answer means."""
