"""What crosses the wire: one module per resource, built from `base` and `types`."""
