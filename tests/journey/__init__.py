"""The first journey: one participant's way into care, walked over a running service.

`python -m tests.journey` starts a database, two API processes and a worker, as an operator
would, and then knows only what every client knows: HTTP, WebSocket and webhooks. Each module is
one part of the story, in the order in which `walk` tells it.
"""
