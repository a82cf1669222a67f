"""The path that an export is written to, whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from patchclamp.core.disk import build_aside, refuse_write, write_file
from patchclamp.core.errors import PatchclampError

AGAIN = "Free some space and export again: nothing was left behind."


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Args:
        format: in which format.
        out: the file or folder.
        files: names of the files in it, or of the file itself, with their bytes.
        units: how many units it holds.
    """

    format: str
    out: str
    files: dict[str, int]
    units: int

    @property
    def bytes(self) -> int:
        """Size of all files together."""
        return sum(self.files.values())


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a folder to write in, which becomes ``out`` once the context ends well and vanishes otherwise.

    Raises:
        PatchclampError: something stands at ``out`` already, no permission, or a full disk.
    """
    try:
        if out.exists() or out.is_symlink():
            raise PatchclampError(
                expected="a folder that is not there yet", got=f"{out}, which is", remedy="Choose another --out."
            )
        with build_aside(out) as part:
            yield part
    except OSError as problem:
        raise write_error(out, problem) from problem


def new_file(out: Path, data: bytes) -> None:
    """Write a file whole, in place of one that may be there.

    Raises:
        PatchclampError: a folder stands there, no permission, no such folder, or a full disk.
    """
    try:
        write_file(out, data)
    except PatchclampError as problem:
        if isinstance(problem.__cause__, OSError):
            raise write_error(out, problem.__cause__) from problem
        raise


def write_error(out: Path, problem: OSError) -> PatchclampError:
    """Say why an export could not be written; there is nothing to resume."""
    refusal = refuse_write(out, problem)
    if refusal.got == "a full disk":
        return PatchclampError(expected=refusal.expected, got=refusal.got, remedy=AGAIN)
    return refusal


def sizes(folder: Path) -> dict[str, int]:
    """Return the files of a folder by their names in it, with their bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
