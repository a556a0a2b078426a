"""Floors: the least that anybody would pay for the same answer, without doing our work.

Each is a small program of its own. They follow one description, so that they can be compared:
records of about 400 bytes of JSON, a bearer token that PostgreSQL knows, a check of the tenant.
"""
