"""Ask a running server whether it can serve: what containers and scripts call instead of curl."""

import http.client
import json

from registry.config import Settings

TIMEOUT_S = 7.0
"""Longer than the server takes to find out that its database hangs."""
_ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nobody listens there


def problem_of(settings: Settings) -> str | None:
    """What keeps the server of these settings, on this machine, from serving; None if nothing does. Blocks."""
    host = _ANY_HOST.get(settings.metrics_host, settings.metrics_host)
    connection = http.client.HTTPConnection(host, settings.effective_metrics_port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        found = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"no answer on {host} port {settings.effective_metrics_port}: {error}"
    finally:
        connection.close()
    if answer.status == http.client.OK:
        return None
    return "; ".join(f"{part}: {text}" for part, text in found.get("problems", {}).items()) or f"status {answer.status}"
