"""The pages of people's own affairs and of administration, as one table."""

from registry.api.web import proof, second_factor, sessions, sign_in, sign_in_settings, sign_up, tokens

ROUTES = (
    *sign_in.ROUTES,
    *sign_up.ROUTES,
    *proof.ROUTES,
    *sign_in_settings.ROUTES,
    *second_factor.ROUTES,
    *sessions.ROUTES,
    *tokens.ROUTES,
)
