"""What a token is put into: commands and files that are ready to be pasted."""

from dataclasses import dataclass

from registry.api.web.languages import Catalogue

VARIABLE = "DEPOTRY_TOKEN"
"""What continuous integration keeps the secret under."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """One of them. `label` is the tool it is for, `hint` what to do besides."""

    label: str
    text: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Credential:
    """Who logs in where, with what."""

    host: str
    account: str
    secret: str
    is_https: bool


def snippets(credential: Credential, say: Catalogue) -> tuple[Snippet, ...]:
    """One for each tool. The files of continuous integration hold no secret."""
    host, account, secret = credential.host, credential.account, credential.secret
    insecure = "" if credential.is_https else " --tls-verify=false"
    keep = say.gettext("Keep the token as a secret of the name %(name)s first.") % {"name": VARIABLE}
    stdin = f"-u {account} --password-stdin"
    return (
        Snippet("Docker", f"echo '{secret}' | docker login {host} {stdin}"),
        Snippet("Podman", f"echo '{secret}' | podman login {host}{insecure} {stdin}"),
        Snippet("Kubernetes", _kubernetes(credential), say.gettext("Pods name it under imagePullSecrets.")),
        Snippet("GitHub Actions", _github(host, account), keep),
        Snippet("GitLab CI", _gitlab(host, account), keep),
    )


def _kubernetes(credential: Credential) -> str:
    lines = (
        "kubectl create secret docker-registry depotry",
        f"--docker-server={credential.host}",
        f"--docker-username={credential.account}",
        f"--docker-password={credential.secret}",
    )
    return " \\\n  ".join(lines)


def _github(host: str, account: str) -> str:
    return f"""\
- uses: docker/login-action@v3
  with:
    registry: {host}
    username: {account}
    password: ${{{{ secrets.{VARIABLE} }}}}"""


def _gitlab(host: str, account: str) -> str:
    return f"""\
before_script:
  - echo "${VARIABLE}" | docker login {host} -u {account} --password-stdin"""
