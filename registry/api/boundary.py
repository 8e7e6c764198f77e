"""The error boundary: whatever goes wrong below it becomes an answer, or the end of a connection, and a log line."""

import logging
from collections.abc import Awaitable, Callable

from registry.api import errors
from registry.api.asgi import ClientGone, Receive, Request, Scope, Send
from registry.api.responses import Answer, AnyAnswer
from registry.core.errors import ContentCorrupt, OurFault, RegistryError, WritesClosed

Respond = Callable[[Request], Awaitable[AnyAnswer]]
Failed = Callable[[RegistryError, Request], Answer]
Broken = Callable[[Request], Answer]


class Boundary:
    """An ASGI application of a function from request to answer, and of one from error to answer; `broken` is the
    answer where our own code failed, if it is not for programs."""

    def __init__(self, respond: Respond, failed: Failed, broken: Broken | None = None) -> None:
        self._respond = respond
        self._failed = failed
        self._broken = broken
        self._log = logging.getLogger("depotry.api")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
            close = not await _drained(request, answer)
            await answer.send(scope, send, close=close)
        except (ClientGone, ConnectionError):
            scope["depotry.error"] = "CLIENT_GONE"
        except OurFault as error:
            # In the middle of a body the only honest thing left is to cut the connection.
            scope["depotry.error"] = errors.TABLE[type(error)][1]
            self._log.error("a download was cut: %s %s", error.message, error.facts)

    async def _answer(self, request: Request) -> AnyAnswer:
        try:
            return await self._respond(request)
        except RegistryError as error:
            return self._answer_to(error, request)
        except (ClientGone, ConnectionError):
            raise
        except Exception:  # noqa: BLE001 - the boundary: whatever it was, the client gets an answer and the log the reason
            self._log.exception("a request failed")
            return errors.internal_error() if self._broken is None else self._broken(request)

    def _answer_to(self, error: RegistryError, request: Request) -> Answer:
        """A function of its own: a name for the error in a frame that it passed through would be a cycle, which keeps
        the body of its request in memory."""
        answer = self._failed(error, request)
        request.scope["depotry.error"] = errors.TABLE[type(error)][1]
        if answer.status >= 500:
            # That a blob is corrupt, or the database closed, is known, and where that was found out does not matter.
            cause = None if isinstance(error, ContentCorrupt | WritesClosed) else error
            level = logging.WARNING if isinstance(error, WritesClosed) else logging.ERROR
            self._log.log(level, "%s %s", error.message, error.facts, exc_info=cause)
        return answer


async def _drained(request: Request, answer: AnyAnswer) -> bool:
    """`Request.drain`; an answer that will not be sent releases what it holds."""
    try:
        return await request.drain()
    except BaseException:
        await answer.aclose()
        raise
