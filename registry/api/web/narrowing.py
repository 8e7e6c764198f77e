"""How lists of repositories are narrowed and ordered: what the address of a page says, and what its form offers."""

from dataclasses import dataclass
from urllib.parse import urlencode

from registry.api.web.asked import Asked
from registry.api.web.languages import Catalogue
from registry.api.web.view import View
from registry.core.access import Visibility
from registry.core.artifacts import Sort, types_of
from registry.core.names import ACCOUNT_NAME_MAX_CHARS
from registry.core.search import SearchText
from registry.core.shelf import Order, RepositoriesQuery

PLATFORMS = (
    "linux/amd64",
    "linux/arm64",
    "linux/arm/v7",
    "linux/arm/v6",
    "linux/386",
    "linux/ppc64le",
    "linux/s390x",
    "linux/riscv64",
    "windows/amd64",
)
"""What the form offers; any other can be asked for by its name."""


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What a list is narrowed to, as the fields of its form hold it."""

    q: str
    namespace: str
    visibility: str
    type: str
    platform: str
    sort: str
    """Empty for the order that the page has by itself."""
    default: str
    """Which that is."""

    @property
    def is_narrowed(self) -> bool:
        """Whether anything is left out, beside what the text leaves out."""
        return bool(self.namespace or self.visibility or self.type or self.platform)


@dataclass(frozen=True, slots=True)
class Choices:
    """What the form offers: (value, text) each; `visibility` and `namespace` whether that is a question here."""

    types: list[tuple[str, str]]
    platforms: list[tuple[str, str]]
    orders: list[tuple[str, str]]
    visibility: bool
    namespace: bool


def narrowed(view: View, default: str) -> Narrowed:
    """What the address says. Raises FieldInvalid."""
    asked = Asked.of(view)
    visibility, kind = asked.choice("visibility", Visibility), asked.text("type")
    asked.order("sort", Order, (Order.NAME, False))
    return Narrowed(
        q=asked.text("q", max_chars=200),
        namespace=asked.text("namespace", max_chars=ACCOUNT_NAME_MAX_CHARS).lower(),
        visibility=visibility or "",
        type=kind,
        platform=asked.text("platform"),
        sort="" if asked.text("sort") == default else asked.text("sort"),
        default=default,
    )


def wanted(view: View, fields: Narrowed) -> RepositoriesQuery:
    """The same as the lists take it. Raises FieldInvalid."""
    order, descending = Asked({"sort": fields.sort or fields.default}).order("sort", Order, (Order.NAME, False))
    return RepositoriesQuery(
        search=SearchText.parse(fields.q, field="q"),
        namespace=fields.namespace or None,
        visibility=Visibility(fields.visibility) if fields.visibility else None,
        artifact_types=_artifact_types(fields.type),
        platform=fields.platform or None,
        order=order,
        descending=descending,
        after=Asked.of(view).position("after", tuple[str | int, int]),
    )


def _artifact_types(text: str) -> tuple[str, ...]:
    if text in set(Sort):
        return types_of(Sort(text))
    return (text,) if text else ()


def choices(fields: Narrowed, texts: Catalogue, *, is_signed_in: bool, is_inside: bool = False) -> Choices:
    """What the form offers, in a language; what is asked for is among it. `is_inside`: of one namespace alone."""
    gettext = texts.gettext
    types = [
        ("", gettext("All types")),
        (Sort.IMAGE.value, gettext("Images")),
        (Sort.CHART.value, gettext("Helm charts")),
        (Sort.WASM.value, "WebAssembly"),
        (Sort.MODEL.value, gettext("AI models")),
    ]
    orders = [
        ("-pull_count", gettext("Most pulled")),
        ("-pushed_at", gettext("Last pushed")),
        ("-star_count", gettext("Most stars")),
        ("name", gettext("Name")),
        ("-size_bytes", gettext("Largest")),
    ]
    if fields.q:
        orders.insert(0, (Order.RELEVANCE.value, gettext("Best match")))
    # The order that the page has by itself is what nobody asks for.
    orders = [("" if value == fields.default else value, text) for value, text in orders]
    orders.sort(key=lambda order: order[0] != "")
    platforms = [("", gettext("All platforms")), *((name, name) for name in PLATFORMS)]
    return Choices(
        _with(types, fields.type),
        _with(platforms, fields.platform),
        _with(orders, fields.sort),
        visibility=is_signed_in,
        namespace=not is_inside,
    )


def _with(options: list[tuple[str, str]], value: str) -> list[tuple[str, str]]:
    return options if value in {key for key, _ in options} else [*options, (value, value)]


def address(path: str, fields: Narrowed) -> str:
    """The shortest address of what is asked for."""
    names = ("q", "namespace", "visibility", "type", "platform", "sort")
    query = urlencode({name: getattr(fields, name) for name in names if getattr(fields, name)})
    return f"{path}?{query}" if query else path
