"""What the bytes of an HTTP/1.1 answer say so far. No I/O, no clock.

``http.client`` waits for a whole head, for as long as it may take, and for whole chunks; a doctor must see
each piece when it comes, and must not wait for more.
"""

from __future__ import annotations

import http.client
import io
import re
import zlib

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 2 * 1024 * 1024

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?\r?$")
_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r?$")
_MAX_SIZE_LINE = 256
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_INFORMAL = 200  # below it, another head follows


class Answer:
    """Reads one answer, split anywhere.

    Attributes:
        status: The status code; 0 until the head is whole.
        headers: By names in lower case; of several the values behind one another.
        is_over: Whether the server said that nothing follows.
        wrong: Why it cannot be read any further; empty if it can.
        received_bytes: How much came.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_over = False
        self.wrong = ""
        self.received_bytes = 0
        self._rest = bytearray()
        self._is_chunked = False
        self._left: int | None = None  # bytes of the chunk, or of the whole body; None where nobody said
        self._after_chunk = False
        self._body_bytes = 0
        self._unpack: zlib._Decompress | None = None

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes and return what they add to the body, unpacked."""
        self.received_bytes += len(data)
        if self.is_over or self._is_stuck():
            return b""
        self._rest += data
        while not self.status:
            if not self._read_head() or self._is_stuck():
                return b""
        body = self._unpacked(self._chunks() if self._is_chunked else self._plain())
        self._body_bytes += len(body)
        if self._body_bytes > MAX_BODY_BYTES or self.received_bytes > MAX_BODY_BYTES:
            self.wrong = f"the body is over {MAX_BODY_BYTES} bytes"
            return b""
        return body

    def _is_stuck(self) -> bool:
        return bool(self.wrong)

    def _read_head(self) -> bool:
        end = _HEAD_END.search(self._rest)
        if end is None or end.end() > MAX_HEAD_BYTES:
            if len(self._rest) > MAX_HEAD_BYTES:
                self.wrong = f"the head is over {MAX_HEAD_BYTES} bytes"
            elif self._rest and not bytes(self._rest[:5]).startswith(b"HTTP/"[: len(self._rest)]):
                self.wrong = "the answer is not HTTP"
            return False
        line, _, fields = bytes(self._rest[: end.end()]).partition(b"\n")
        del self._rest[: end.end()]
        status = _STATUS.match(line)
        if status is None:
            self.wrong = "the answer is not HTTP/1.1"
            return False
        if int(status[1]) >= _INFORMAL:
            self._take_headers(int(status[1]), fields)
        return True

    def _take_headers(self, status: int, fields: bytes) -> None:
        try:
            message = http.client.parse_headers(io.BytesIO(fields))
        except http.client.HTTPException as error:
            self.wrong = f"its headers cannot be read: {error!r}"
            return
        for name, value in message.items():
            known = self.headers.get(name.lower())
            self.headers[name.lower()] = str(value) if known is None else f"{known}, {value}"
        self.status = status
        self._is_chunked = self.headers.get("transfer-encoding", "").lower().endswith("chunked")
        length = self.headers.get("content-length", "")
        if not self._is_chunked and length.isascii() and length.isdigit():
            self._left = min(int(length[:15]), MAX_BODY_BYTES + 1)
        if self.headers.get("content-encoding", "").strip().lower() in {"gzip", "x-gzip", "deflate"}:
            self._unpack = zlib.decompressobj(_GZIP_OR_ZLIB)

    def _plain(self) -> bytes:
        size = len(self._rest) if self._left is None else min(self._left, len(self._rest))
        piece = bytes(self._rest[:size])
        self._rest.clear()
        if self._left is not None:
            self._left -= size
            self.is_over = self._left == 0
        return piece

    def _chunks(self) -> bytes:
        pieces = []
        while self._rest and not self.is_over and not self.wrong:
            if not self._left:
                if not self._read_size():
                    break
                continue
            piece = bytes(self._rest[: self._left])
            del self._rest[: self._left]
            self._left -= len(piece)
            self._after_chunk = self._left == 0
            pieces.append(piece)
        return b"".join(pieces)

    def _read_size(self) -> bool:
        """Read the line before a chunk, with the line end behind the last one; return whether it is there."""
        if self._after_chunk:
            if self._rest[:1] == b"\n" or self._rest[:2] == b"\r\n":
                del self._rest[: self._rest.index(b"\n") + 1]
                self._after_chunk = False
                return True
            if bytes(self._rest) != b"\r":
                self.wrong = "a chunk is longer than it says"
            return False
        end = self._rest.find(b"\n", 0, _MAX_SIZE_LINE)
        size = _SIZE.match(bytes(self._rest[:end])) if end >= 0 else None
        if size is None:
            if end >= 0 or len(self._rest) >= _MAX_SIZE_LINE:
                self.wrong = "the size of a chunk cannot be read"
            return False
        del self._rest[: end + 1]
        self._left = int(size[1], 16)
        self.is_over = self._left == 0
        return True

    def _unpacked(self, piece: bytes) -> bytes:
        if self._unpack is None or not piece:
            return piece
        try:
            # A few bytes may unpack to gigabytes.
            return self._unpack.decompress(piece, MAX_BODY_BYTES + 1)
        except zlib.error as error:
            self.wrong = f"its compression cannot be undone: {error}"
            return b""
