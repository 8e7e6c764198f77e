"""Questions before what cannot be taken back: in a dialog, and on a page of their own for who has no JavaScript."""

from dataclasses import dataclass

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.refusals import NOTHING_WRONG, Refusal, wrong
from registry.api.web.services import WebServices
from registry.api.web.view import View


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. `id` is that of its dialog, `page` the path of its page, `action` where the answer goes."""

    id: str
    title: str
    page: str
    action: str
    button: str
    """What happens, in a word or two."""
    back: str
    lines: tuple[str, ...] = ()
    """What it means."""
    items: tuple[str, ...] = ()
    """What goes with it."""
    fields: tuple[tuple[str, str], ...] = ()
    word: str = ""
    """What has to be typed; empty for nothing."""
    is_grave: bool = True


def ask(services: WebServices, view: View, question: Question, problem: Refusal = NOTHING_WRONG) -> Answer:
    """The page that asks."""
    return services.pages.render(
        view, "question.html", {"question": question, "problem": problem}, status=problem.status
    )


def unconfirmed(services: WebServices, visit: Visit, view: View, question: Question) -> Answer | None:
    """The page that asks again, where the word was not typed as it is; None where it was."""
    if not question.word or visit.body.text("confirm") == question.word:
        return None
    text = services.pages.texts(view).gettext("That is not what was asked for.")
    return ask(services, view, question, wrong(confirm=text))
