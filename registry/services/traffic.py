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

    def count(self, name: str, number: int = 1) -> None:
        """Add to a number of this hour."""
        key = (name, self._clock() // HOUR_MS)
        self._numbers[key] = self._numbers.get(key, 0) + number

    def request(self, kind: str, status: int, *, received: int, sent: int) -> None:
        """A request of a class has ended, with so many bytes of bodies. `status` 0: its client went away."""
        hour, numbers = self._clock() // HOUR_MS, self._numbers
        names = [(REQUESTS + kind, 1)]
        if status >= 400:
            names.append((SERVER_ERRORS if status >= 500 else CLIENT_ERRORS, 1))
        if received:
            names.append((RECEIVED, received))
        if sent:
            names.append((SENT, sent))
        for name, number in names:
            numbers[name, hour] = numbers.get((name, hour), 0) + number

    def take(self) -> Numbers:
        """What was counted; it is forgotten here."""
        taken, self._numbers = self._numbers, {}
        return taken

    def give_back(self, numbers: Numbers) -> None:
        """Count what was taken once more: it could not be written down."""
        for key, number in numbers.items():
            self._numbers[key] = self._numbers.get(key, 0) + number
