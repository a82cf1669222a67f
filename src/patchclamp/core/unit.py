"""One element of a basis at a site, and the one key that names it everywhere.

A key is ``[subject/]site/basis/index[@position | @+step]``, for instance ``gpt2/blocks.5.mlp.act/neurons/1234@7``.
"""

import re
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.errors import PatchclampError

SLUG = re.compile(r"[a-z0-9._-]+")
_SITE = re.compile(r"[A-Za-z0-9._-]+")
# Eighteen digits fit 64 bits; more would break the arithmetic behind.
_INDEX = re.compile(r"([0-9]{1,18})(?:@(\+?)([0-9]{1,18}))?")


@checked
@dataclass(frozen=True, order=True)
class UnitKey:
    """Name a unit, and optionally the position or generation step where it is looked at.

    Args:
        site: canonical site path.
        index: which unit of the basis.
        basis: name of the basis; ``neurons`` is the identity.
        subject: slug of the model, or None where only one is loaded.
        position: logical position (0 is the first token that is not padding), or None for all.
        step: generation step (0 is the first generated token), or None.

    Raises:
        PatchclampError: a part breaks the grammar, or both position and step are given.

    Example:
        >>> key = UnitKey.parse("gpt2/blocks.5.mlp.act/neurons/1234@7")
        >>> key.index, key.position, str(key)
        (1234, 7, 'gpt2/blocks.5.mlp.act/neurons/1234@7')
    """

    site: str
    index: Natural
    basis: str = "neurons"
    subject: str | None = None
    position: Natural | None = None
    step: Natural | None = None

    def __post_init__(self) -> None:
        whole = _SITE.fullmatch(self.site) and SLUG.fullmatch(self.basis)
        if not whole or (self.subject is not None and not SLUG.fullmatch(self.subject)):
            raise _broken(f"{self.subject}/{self.site}/{self.basis}")
        numbers = (self.index, self.position or 0, self.step or 0)
        if min(numbers) < 0 or max(numbers) >= 10**18:
            raise _broken(f"a number out of range in {self.site}/{self.basis}/{self.index}")
        if self.position is not None and self.step is not None:
            raise _broken("both a position and a step")

    @classmethod
    def parse(cls, text: str) -> "UnitKey":
        """Read a key; the inverse of ``str``.

        Raises:
            PatchclampError: the text breaks the grammar.
        """
        parts = text.split("/")
        if len(parts) not in (3, 4):
            raise _broken(text)
        matched = _INDEX.fullmatch(parts[-1])
        if matched is None:
            raise _broken(text)
        index, plus, place = matched.groups()
        number = None if place is None else int(place)
        return cls(
            subject=parts[0] if len(parts) == 4 else None,
            site=parts[-3],
            basis=parts[-2],
            index=int(index),
            position=None if plus else number,
            step=number if plus else None,
        )

    def __str__(self) -> str:
        head = "" if self.subject is None else f"{self.subject}/"
        tail = "" if self.position is None else f"@{self.position}"
        tail = tail if self.step is None else f"@+{self.step}"
        return f"{head}{self.site}/{self.basis}/{self.index}{tail}"

    def to_url(self) -> str:
        """Return the key as a URL path, percent-encoded where a server needs it."""
        return quote(str(self), safe="/@")

    @classmethod
    def from_url(cls, path: str) -> "UnitKey":
        """Read a key from a URL path; the inverse of ``to_url``."""
        return cls.parse(unquote(path))

    def without_place(self) -> "UnitKey":
        """Return the key of the unit itself, position and step dropped."""
        return replace(self, position=None, step=None)


def slug(name: str) -> str:
    """Turn a model's name or folder into the subject part of keys.

    Example:
        >>> slug("EleutherAI/Pythia 70M")
        'pythia-70m'
    """
    last = name.rstrip("/").rsplit("/", 1)[-1].lower()
    return re.sub(r"[^a-z0-9._-]+", "-", last).strip("-.") or "model"


def _broken(got: str) -> PatchclampError:
    return PatchclampError(
        expected="a key [subject/]site/basis/index, with @position or @+step",
        got=repr(got),
        remedy="For example blocks.3.mlp.act/neurons/12@5.",
    )
