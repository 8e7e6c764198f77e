"""How a blob is sent: in pieces, by the server's zero-copy extension, or verified on the way."""

from pathlib import Path
from typing import Any

import pytest

from registry.api.asgi import Message, Scope
from registry.api.responses import BlobAnswer
from registry.blobstore.base import BlobReader, ObjectKey
from registry.blobstore.filesystem import FilesystemStore
from registry.core.byterange import ByteRange
from registry.core.digest import Digest
from registry.core.errors import ContentCorrupt

pytestmark = pytest.mark.anyio
UPLOAD = "0" * 32
CONTENT = bytes(range(256)) * 12_000


async def stored(root: Path, content: bytes = CONTENT) -> tuple[FilesystemStore, BlobReader]:
    """A store and a reader of one blob."""
    store = FilesystemStore(root)
    await store.claim("a")
    session = await store.create_upload(UPLOAD, 1)
    await session.write([content])
    info = await session.commit(Digest.of(content))
    return store, await store.open(info.key)


async def sent(answer: BlobAnswer, scope: Scope) -> list[Message]:
    """The messages of an answer."""
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    await answer.send(scope, send, close=False)
    return messages


@pytest.mark.parametrize("part", [ByteRange(0, len(CONTENT)), ByteRange(1_000_000, 1_500_000)])
async def test_pieces(tmp_path: Path, part: ByteRange) -> None:
    """Without an extension: exact bytes, no piece over 1 MiB, and the file is closed."""
    store, reader = await stored(tmp_path)
    messages = await sent(BlobAnswer(200, [], reader, part), {})
    bodies = [message["body"] for message in messages[1:]]
    assert b"".join(bodies) == CONTENT[part.offset : part.offset + part.count]
    assert max(map(len, bodies)) <= 1024 * 1024
    assert [message["more_body"] for message in messages[1:]] == [True] * (len(bodies) - 1) + [False]
    assert reader.file is not None
    assert reader.file.closed
    await store.aclose()


async def test_zero_copy_where_the_server_offers_it(tmp_path: Path) -> None:
    """One event with a real file, an offset and a count; nothing is read here."""
    store, reader = await stored(tmp_path)
    scope: dict[str, Any] = {"extensions": {"http.response.zerocopysend": {}}}
    [start, event] = await sent(BlobAnswer(206, [], reader, ByteRange(5, 7)), scope)
    assert (b"content-length", b"7") in start["headers"]
    assert event == {"type": "http.response.zerocopysend", "file": reader.file, "offset": 5, "count": 7}
    await store.aclose()


async def test_verification_cuts_before_the_last_piece(tmp_path: Path) -> None:
    """With verify_on_read a changed blob never becomes a whole answer, though the server could send the file."""
    store, reader = await stored(tmp_path)
    path = next(tmp_path.rglob("*.1"))
    path.write_bytes(b"X" + CONTENT[1:])
    answer = BlobAnswer(200, [], reader, ByteRange(0, len(CONTENT)), verify=True)
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    with pytest.raises(ContentCorrupt):
        await answer.send({"extensions": {"http.response.zerocopysend": {}}}, send, close=False)
    assert 0 < sum(len(message.get("body", b"")) for message in messages) < len(CONTENT)
    assert all(message.get("more_body", True) for message in messages)
    await store.aclose()


async def test_a_short_file_is_cut(tmp_path: Path) -> None:
    """I4: a blob that ends too early never becomes a valid message."""
    store, reader = await stored(tmp_path)
    with next(tmp_path.rglob("*.1")).open("r+b") as file:
        file.truncate(2_000_000)
    with pytest.raises(ContentCorrupt):
        await sent(BlobAnswer(200, [], reader, ByteRange(0, len(CONTENT))), {})
    await store.aclose()


async def test_the_empty_blob(tmp_path: Path) -> None:
    """One empty body, no zero-copy of nothing."""
    store, reader = await stored(tmp_path, b"")
    scope: dict[str, Any] = {"extensions": {"http.response.zerocopysend": {}}}
    [start, end] = await sent(BlobAnswer(200, [], reader, ByteRange(0, 0)), scope)
    assert (b"content-length", b"0") in start["headers"]
    assert end == {"type": "http.response.body"}
    assert ObjectKey(Digest.of(b""), 1) == reader.info.key
    await store.aclose()
