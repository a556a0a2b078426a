"""One line of history: how the schema came to be."""
