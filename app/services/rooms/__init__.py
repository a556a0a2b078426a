"""Rooms: where people talk live, who is in them, and what is said."""
