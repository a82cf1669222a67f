"""Where a result comes from, as data that can be read again."""

import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from patchclamp.core.arguments import checked
from patchclamp.core.checks import check_plain
from patchclamp.core.errors import Damaged, report_damage
from patchclamp.core.json_text import read_number

PACKAGES = ("patchclamp", "torch", "transformers", "numpy")


@checked
@dataclass(frozen=True)
class Provenance:
    """Say what made a result: subject, method and options, versions, seed, hashes and seconds.

    Args:
        subject: slug of what lay in the rig; empty where none did.
        subject_hash: hash of its weights, or of the recording.
        method: name of the method, with its room: ``attribute/relp``; empty where no card made it.
        tier: of the method when it ran: ``calibrated``, ``reproduced`` or ``experimental``; empty where no card was.
        options: the method's options, as JSON-ready data.
        seed: of everything random.
        versions: package to version.
        hashes: hash of every input by its name: a basis, a corpus, a second recording.
        seconds: how long it took; nan where nobody measured.
        extra: what one kind of result alone has to say.

    Example:
        >>> Provenance.from_json(Provenance("toy", "abc", "compare/rsa").to_json()).method
        'compare/rsa'
    """

    subject: str = ""
    subject_hash: str = ""
    method: str = ""
    tier: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    seconds: float = math.nan
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("options", "versions", "hashes", "extra"):
            check_plain(name, getattr(self, name))

    @property
    def label(self) -> str:
        """The method's name as it is shown: an experimental one is called so."""
        return f"{self.method} (experimental)" if self.tier == "experimental" else self.method

    def to_json(self) -> dict[str, Any]:
        """Return the provenance as JSON-ready data."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name in ("options", "versions", "hashes", "extra"):
            data[name] = dict(data[name])
        return {**data, "seconds": self.seconds if math.isfinite(self.seconds) else None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Provenance":
        """Read a provenance; the inverse of ``to_json``.

        Raises:
            Damaged: a part that is none of it, or of another type.
        """
        given = dict(data)
        seconds = given.get("seconds")
        with report_damage("a provenance", "Make the result again."):
            given["seconds"] = math.nan if seconds is None else read_number(seconds)
        strange = [name for name in given if name not in cls.__dataclass_fields__]
        kinds = {
            "seed": int,
            "seconds": int | float,
            **dict.fromkeys(("options", "versions", "hashes", "extra"), Mapping),
        }
        wrong = [
            name
            for name, value in given.items()
            if name not in strange and (not isinstance(value, kinds.get(name, str)) or isinstance(value, bool))
        ]
        if strange or wrong:
            raise Damaged(
                expected="a provenance", got=f"one with {(strange + wrong)[0]!r}", remedy="Make the result again."
            )
        return cls(**given)


def read_versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python and of packages; those that are not installed are left out.

    Args:
        packages: names of distributions; those that most results depend on where none is named.
    """
    versions = {"python": platform.python_version()}
    for package in packages or PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
