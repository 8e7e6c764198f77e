"""What the instance does, by the hour: counted in memory where a request ends, without a wait."""

from registry.services.clock import Clock

HOUR_MS = 3_600_000

REGISTRY, LOGIN, API, PAGE = "registry", "login", "api", "page"
"""Classes of requests: the distribution API, the token server, the REST API of the hub, its pages."""
REQUESTS = "requests."
"""Begins the names of the numbers of requests by class."""
PULLS, PUSHES = "pulls", "pushes"
CLIENT_ERRORS, SERVER_ERRORS = "errors.4xx", "errors.5xx"
RECEIVED, SENT = "bytes.in", "bytes.out"

Numbers = dict[tuple[str, int], int]
"""By name and hour since 1970 UTC."""


class Traffic:
    """Numbers since they were taken last. Only for the event loop's thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._numbers: Numbers = {}
        self._requests: dict[tuple[str, int, int], list[int]] = {}
        """By class, hundreds of the status, and hour: how many, and bytes in and out."""

    def count(self, name: str, number: int = 1) -> None:
        """Add to a number of this hour."""
        self._add(name, self._clock() // HOUR_MS, number)

    def request(self, kind: str, status: int, *, received: int, sent: int) -> None:
        """A request of a class has ended, with so many bytes of bodies. `status` 0: its client went away."""
        key = (kind, status // 100, self._clock() // HOUR_MS)
        figures = self._requests.get(key)
        if figures is None:
            figures = self._requests[key] = [0, 0, 0]
        figures[0] += 1
        figures[1] += received
        figures[2] += sent

    def take(self) -> Numbers:
        """What was counted; it is forgotten here."""
        for (kind, hundreds, hour), (number, received, sent) in self._requests.items():
            self._add(REQUESTS + kind, hour, number)
            self._add(RECEIVED, hour, received)
            self._add(SENT, hour, sent)
            if hundreds >= 4:
                self._add(SERVER_ERRORS if hundreds >= 5 else CLIENT_ERRORS, hour, number)
        taken, self._numbers, self._requests = self._numbers, {}, {}
        return taken

    def give_back(self, numbers: Numbers) -> None:
        """Count what was taken once more: it could not be written down."""
        for (name, hour), number in numbers.items():
            self._add(name, hour, number)

    def _add(self, name: str, hour: int, number: int) -> None:
        if number:
            self._numbers[name, hour] = self._numbers.get((name, hour), 0) + number
