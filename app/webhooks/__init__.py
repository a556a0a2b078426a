"""Events on their way to integrators: signed, bounded, and never to a private address."""
