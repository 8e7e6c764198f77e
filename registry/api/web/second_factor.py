"""The second factor of one's own account: set up, other recovery codes, turned off."""

import base64

from registry.api.hub.gate import Visit
from registry.api.responses import Answer
from registry.api.web.browser import session_of, visitor_of
from registry.api.web.news import told
from registry.api.web.questions import Question, ask
from registry.api.web.refusals import NOTHING_WRONG, Refusal, refusal, tried, wrong
from registry.api.web.services import WebServices
from registry.api.web.sign_in import wrong_code
from registry.api.web.table import WebRoute
from registry.api.web.view import View
from registry.core.access import Action
from registry.core.errors import AccountInvalid, RegistryError, TooManyRequests, Unauthenticated

PATH = "/settings/second-factor"
PARENT = "/settings/sign-in"


async def get_second_factor(services: WebServices, visit: Visit, view: View) -> Answer:
    """What it is, and the first step."""
    return services.pages.render(view, "settings-second-factor.html", {"problem": NOTHING_WRONG})


async def post_second_factor(services: WebServices, visit: Visit, view: View) -> Answer:
    """A secret to scan, which counts once a code of it was shown."""
    factor = services.signing.entrance.second_factor
    found = await tried(factor.begin(session_of(visit), issuer=services.origins.service(None)), AccountInvalid)
    if isinstance(found, RegistryError):
        problem = refusal(services.pages.texts(view), found)
        return services.pages.render(view, "settings-second-factor.html", {"problem": problem}, status=problem.status)
    # As a file of its own, which says what it is.
    drawing = found.picture.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    picture = base64.b64encode(drawing.encode("utf-8")).decode("ascii")
    return _confirm_form(services, view, picture=f"data:image/svg+xml;base64,{picture}", secret=found.secret)


async def post_code(services: WebServices, visit: Visit, view: View) -> Answer:
    """Turn it on, and show the recovery codes once."""
    factor, session = services.signing.entrance.second_factor, session_of(visit)
    found = await tried(
        factor.confirm(session, visit.body.text("code"), visitor_of(visit)),
        Unauthenticated,
        AccountInvalid,
        TooManyRequests,
    )
    if not isinstance(found, RegistryError):
        return _codes(services, view, found, is_new=True)
    if isinstance(found, Unauthenticated):
        return _confirm_form(services, view, wrong(403, code=wrong_code(services, view)))
    return _confirm_form(services, view, refusal(services.pages.texts(view), found))


async def post_codes(services: WebServices, visit: Visit, view: View) -> Answer:
    """Other recovery codes; the old ones do not count any more."""
    codes = await services.signing.entrance.second_factor.new_codes(session_of(visit), visitor_of(visit))
    return _codes(services, view, codes, is_new=False)


async def get_off(services: WebServices, visit: Visit, view: View) -> Answer:
    """Whether it is to be turned off."""
    return ask(services, view, off_question(services, view))


async def post_off(services: WebServices, visit: Visit, view: View) -> Answer:
    """Turn it off."""
    await services.signing.entrance.second_factor.turn_off(session_of(visit), visitor_of(visit))
    return told(services, view, PARENT, services.pages.texts(view).gettext("The second factor is off."))


def off_question(services: WebServices, view: View) -> Question:
    """What is asked before."""
    say = services.pages.texts(view)
    return Question(
        "second-factor-off",
        say.gettext("Turn off the second factor?"),
        page=f"{PATH}/off",
        action=f"{PATH}/off",
        button=say.gettext("Turn off"),
        back=PARENT,
        lines=(
            say.gettext("Whoever knows the password can then sign in, and use it with docker too."),
            say.gettext("The recovery codes do not count any more."),
        ),
    )


def _confirm_form(
    services: WebServices, view: View, problem: Refusal = NOTHING_WRONG, *, picture: str = "", secret: str = ""
) -> Answer:
    values = {"problem": problem, "picture": picture, "secret": secret}
    answer = services.pages.render(view, "settings-second-factor-code.html", values, status=problem.status)
    answer.headers.extend(problem.headers)
    return answer


def _codes(services: WebServices, view: View, codes: list[str], *, is_new: bool) -> Answer:
    return services.pages.render(view, "settings-recovery-codes.html", {"codes": codes, "is_new": is_new})


ROUTES = (
    WebRoute("second-factor-page", "GET", PATH, Action.ACCOUNT, get_second_factor, danger=True),
    WebRoute("second-factor-begin", "POST", PATH, Action.ACCOUNT, post_second_factor, danger=True),
    WebRoute("second-factor-confirm", "POST", f"{PATH}/code", Action.ACCOUNT, post_code),
    WebRoute("second-factor-codes", "POST", f"{PATH}/codes", Action.ACCOUNT, post_codes, danger=True),
    WebRoute("second-factor-off-page", "GET", f"{PATH}/off", Action.ACCOUNT, get_off, danger=True),
    WebRoute("second-factor-off", "POST", f"{PATH}/off", Action.ACCOUNT, post_off, danger=True),
)
