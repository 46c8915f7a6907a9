"""Several steps in a row, as a user would take them."""
