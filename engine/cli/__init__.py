"""The ``engine`` command: parsing and printing only."""
