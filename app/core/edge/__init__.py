"""The edge: one ASGI middleware that meets every request first and every answer last.

What it refuses never reaches the framework: headers and URLs that are too large, unknown hosts,
bodies that are too large or no JSON, more work than the process can do. What it adds is on every
answer, also on those of errors: a request id, the security headers, the CORS headers. It is plain
ASGI and counts its microseconds, because it runs for every request.
"""

from app.core.edge.config import EdgeConfig
from app.core.edge.middleware import Edge

__all__ = ["Edge", "EdgeConfig"]
