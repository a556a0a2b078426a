"""Plumbing that knows no clinic: time, ids, problems, the edge, the database."""
