"""Everything that has to do with signing in on a page, in one place for whoever serves those pages."""

from dataclasses import dataclass

from registry.services.groups import Groups
from registry.services.identities import Identities
from registry.services.second_factor import SecondFactor
from registry.services.sessions import Sessions
from registry.services.sign_in import SignIn
from registry.services.single_sign_on import SingleSignOn


@dataclass(frozen=True, slots=True)
class Entrance:
    """What pages and API call. `single_sign_on` is None where there is no provider; `only_admins_have_passwords`: the
    form for a password is for them, and need not be the first thing on the page."""

    sign_in: SignIn
    sessions: Sessions
    second_factor: SecondFactor
    identities: Identities
    groups: Groups
    single_sign_on: SingleSignOn | None
    only_admins_have_passwords: bool
