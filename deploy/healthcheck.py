"""Asks the process in this container whether it lives; exits 0 when it does.

    python deploy/healthcheck.py           # serve
    python deploy/healthcheck.py worker

The service answers only to its own host names, so it is asked by the first of them. A worker
answers on the port of its probes.
"""

import os
import sys
from http import HTTPStatus
from http.client import HTTPConnection

TIMEOUT_SECONDS = 2


def port_of(part: str) -> int:
    """Where this part answers."""
    if part == "worker":
        return int(os.environ["STEPWELL_WORKER_METRICS_PORT"])
    return int(os.environ.get("STEPWELL_PORT", "8000"))


def is_alive(port: int) -> bool:
    """Whether `/livez` answers 200 in time."""
    host = os.environ.get("STEPWELL_HOSTS", "localhost").split(",")[0].strip()
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/livez", headers={"Host": host})
        return connection.getresponse().status == HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_alive(port_of("".join(sys.argv[1:]))) else 1)
