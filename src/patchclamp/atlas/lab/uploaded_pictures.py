"""Pictures that came with a question: read as the command line reads a file, and kept in memory, the last of them."""

import io
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Annotated, ClassVar

from pydantic import Base64Bytes, ConfigDict, Field

from patchclamp.atlas.read.reader import NotFound
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus import Picture

LARGEST_UPLOAD = 4_000_000
"""Bytes of a file."""
MOST_PIXELS = 16_000_000
MOST_UPLOADED = 20
LONGEST_NAME = 100
ARRAY = ".npy"
UPLOAD_ID = r"^upload-[0-9a-f]{16}$"


@dataclass(frozen=True)
class UploadAsked:
    """A file with one picture: its name, and what is in it, in base 64."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=300)]
    data: Base64Bytes


@dataclass(frozen=True)
class Uploaded:
    """A picture that a server keeps until it ends, or until many others came: what names it, and what it is called."""

    id: str
    name: str


class UploadedPictures:
    """Remember the pictures that came last.

    Args:
        most: how many.
    """

    def __init__(self, most: int = MOST_UPLOADED) -> None:
        self.most = most
        self._pictures: OrderedDict[str, Picture] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, picture: Picture) -> str:
        """Remember a picture, and forget the oldest where there are too many; give what names it."""
        id = f"upload-{picture.id[:16]}"
        with self._lock:
            self._pictures[id] = picture
            self._pictures.move_to_end(id)
            while len(self._pictures) > self.most:
                self._pictures.popitem(last=False)
        return id

    def find(self, id: str) -> Picture:
        """Return the picture of an id.

        Raises:
            NotFound: it did not come to this server, or too long ago.
        """
        with self._lock:
            found = self._pictures.get(id)
        if found is None:
            raise NotFound(
                expected=f"one of the last {self.most} pictures that were given to this server",
                got=repr(id[:80]),
                remedy="Give the file again: it is kept in memory only.",
            )
        return found


def read_upload(name: str, data: bytes) -> Picture:
    """Return the one picture of a file, as ``patchclamp explain MODEL FILE`` reads it; pickles are never read.

    Args:
        name: of the file, whose ending says its kind.
        data: what is in it.

    Returns:
        Picture: called by the file's name.

    Raises:
        PatchclampError: another kind of file, one that is empty or too large, or one with no picture or with several.
    """
    from patchclamp.subjects.images import SUFFIXES, gallery

    called = "".join(c for c in PurePosixPath(name.replace("\\", "/")).name if c.isprintable())[-LONGEST_NAME:]
    suffix = PurePosixPath(called).suffix.lower()
    if suffix not in (*SUFFIXES, ARRAY):
        raise PatchclampError(
            expected=f"a file that ends in {', '.join(SUFFIXES[:3])} or {ARRAY}",
            got=repr(called),
            remedy=f"Save the picture as png, or one array as {ARRAY}.",
        )
    if not 0 < len(data) <= LARGEST_UPLOAD:
        raise PatchclampError(
            expected=f"a file of at most {LARGEST_UPLOAD:,} bytes",
            got=f"{called} of {len(data):,}",
            remedy="Make the picture smaller; `patchclamp explain MODEL FILE` takes larger ones.",
        )
    if suffix != ARRAY:
        _refuse_many_pixels(called, data)
    with TemporaryDirectory() as folder:
        # A name of our own: that of the file may be one of another meaning.
        file = Path(folder) / f"picture{suffix}"
        file.write_bytes(data)
        try:
            held = gallery(file)
            one = held.read(0) if len(held) == 1 else None
        except PatchclampError as problem:
            got = problem.got.replace(str(file), called)
            raise PatchclampError(expected=problem.expected, got=got, remedy=problem.remedy) from problem
    if one is None:
        raise PatchclampError(
            expected="one picture", got=f"{called}, which holds {len(held):,}", remedy="Save one of them by itself."
        )
    return replace(one, name=called + one.name.removeprefix(file.name))


def _refuse_many_pixels(called: str, data: bytes) -> None:
    """Refuse a file that says it holds more pixels than a page may ask for, before they are made."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as opened:
            width, height = opened.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return  # what reads it says what is wrong with it
    if width * height > MOST_PIXELS:
        raise PatchclampError(
            expected=f"a picture of at most {MOST_PIXELS:,} pixels",
            got=f"{called} of {width:,} x {height:,}",
            remedy="Make the picture smaller; `patchclamp explain MODEL FILE` takes larger ones.",
        )
