"""What schemathesis looks at beside its own checks: every refusal is a problem that says what is wrong."""

from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, Response

WITHOUT_FIELD = (
    "the body is not JSON",
    "the body has more than",
    "a % in the path",
    "the path is not UTF-8",
    "no text has",
)
"""What is wrong there has no name."""


@schemathesis.check
def problems_name_the_field(context: CheckContext, response: Response, case: Case[Any]) -> None:
    """A 4xx has Problem Details, and a 400 names a field."""
    if not 400 <= response.status_code < 500 or case.method == "HEAD":
        return
    assert response.headers["content-type"][0] == "application/problem+json", response.headers
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["detail"]
    if response.status_code == 400 and not problem["detail"].startswith(WITHOUT_FIELD):
        assert problem.get("field"), f"the problem names no field: {problem}"
