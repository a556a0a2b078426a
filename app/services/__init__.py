"""Use cases: what a person does, as functions over a database handle."""
