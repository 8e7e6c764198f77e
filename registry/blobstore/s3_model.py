"""The part of the S3 library that is used here. Its description of the service has a hundred calls, with the manual of
each and the regions of every other service: twenty megabytes in each worker, of which two are needed."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.session import Session

CALLS = frozenset(
    {
        "AbortMultipartUpload",
        "CompleteMultipartUpload",
        "CreateMultipartUpload",
        "DeleteObject",
        "GetObject",
        "HeadObject",
        "ListMultipartUploads",
        "ListObjectsV2",
        "PutObject",
        "UploadPart",
    }
)
SERVICES = frozenset({"s3", "sts", "sso", "sso-oidc"})
"""S3, and those that give out credentials."""


def new_session() -> "Session":
    """A session of the library whose S3 client knows the calls above. Blocks for a moment."""
    from botocore.loaders import JSONFileLoader, Loader
    from botocore.session import Session

    class _Files(JSONFileLoader):  # type: ignore[misc]
        def load_file(self, file_path: str) -> Any:
            data = super().load_file(file_path)
            folder, name = os.path.split(file_path)
            if name == "service-2" and os.path.basename(os.path.dirname(folder)) == "s3":
                return model_of(data)
            return _regions_of(data) if name == "endpoints" else data

    session = Session()
    usual = session.get_component("data_loader")
    session.register_component("data_loader", Loader(usual.search_paths, file_loader=_Files()))
    return session


def model_of(service: dict[str, Any]) -> dict[str, Any]:
    """The description of the service without the calls that nobody makes here, and without texts."""
    operations = {name: _without_text(call) for name, call in service["operations"].items() if name in CALLS}
    waiting = [shape["shape"] for call in operations.values() for shape in _shapes_of(call)]
    shapes: dict[str, Any] = {}
    while waiting:
        name = waiting.pop()
        if name not in shapes:
            shape = shapes[name] = _without_text(service["shapes"][name])
            waiting += [each["shape"] for each in shape.get("members", {}).values()]
            waiting += [shape[part]["shape"] for part in ("member", "key", "value") if part in shape]
    kept = {name: value for name, value in service.items() if name not in {"operations", "shapes", "documentation"}}
    return {**kept, "operations": operations, "shapes": shapes}


def _shapes_of(call: dict[str, Any]) -> list[dict[str, Any]]:
    errors: list[dict[str, Any]] = call.get("errors", [])
    return [call[part] for part in ("input", "output") if part in call] + errors


def _without_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_text(each) for key, each in value.items() if key != "documentation"}
    return [_without_text(each) for each in value] if isinstance(value, list) else value


def _regions_of(endpoints: dict[str, Any]) -> dict[str, Any]:
    def some(partition: dict[str, Any]) -> dict[str, Any]:
        services = {name: each for name, each in partition["services"].items() if name in SERVICES}
        return {**partition, "services": services}

    return {**endpoints, "partitions": [some(each) for each in endpoints["partitions"]]}
