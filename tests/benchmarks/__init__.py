"""The harness is only arithmetic and parsing here; measurements are not tests."""
