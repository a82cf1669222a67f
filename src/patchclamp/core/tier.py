"""Tiers of methods, derived from the stored calibration; read without a framework."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

FILE = Path(__file__).parents[1] / "calibration.json"
CLOSE = 1e-5
"""Largest difference from an oracle, relative to its largest value."""


@dataclass(frozen=True)
class Tier:
    """Say how far a method has been proven.

    Args:
        name: ``calibrated`` (it equals its oracle, shows what it must on every organism that its card names, and misses
            what it must miss), ``reproduced`` (that, and a published figure on real data), or ``experimental``.
        reason: what it rests on, or what is lacking.
    """

    name: Literal["calibrated", "reproduced", "experimental"]
    reason: str

    @property
    def experimental(self) -> bool:
        """Whether it may not be the default of anything."""
        return self.name == "experimental"


NOT_STORED = Tier("experimental", "no calibration of it is stored")


def derive_tier(entry: Mapping[str, Any]) -> Tier:
    """Return the tier that a method's stored figures give it.

    Args:
        entry: its part of the calibration: ``oracle``, ``rows`` and ``published``.

    Example:
        >>> derive_tier({"oracle": {"apart": 0.0}, "rows": [], "published": []}).reason
        'there is no organism on which it was run'
    """
    apart = entry["oracle"]["apart"]
    if apart is None or not apart <= CLOSE:
        return Tier(
            "experimental",
            "it was not compared with an oracle"
            if apart is None
            else f"{apart:.2g} of the largest value away from its oracle",
        )
    shown = [row for row in entry["rows"] if row["claim"] == "show"]
    missed = [row for row in entry["rows"] if row["claim"] == "miss"]
    if not shown:
        return Tier("experimental", "there is no organism on which it was run")
    for rows, words in ((shown, "does not show what it must on"), (missed, "shows what it must miss on")):
        failed = [row["place"] + _list_figures(row) for row in rows if not row["held"]]
        if failed:
            return Tier("experimental", f"it {words} {', '.join(failed)}")
    at = f"at {len(shown)} place" + "s" * (len(shown) > 1)
    reason = f"it equals its oracle, and shows what it must {at}"
    reason += f", and misses what it must at {len(missed)}" if missed else ""
    published = [one for one in entry["published"] if abs(one["found"] - one["published"]) <= one["tolerance"]]
    if published and len(published) == len(entry["published"]):
        return Tier("reproduced", f"{reason}; {published[0]['figure']} as published on {published[0]['data']}")
    return Tier("calibrated", reason)


def _list_figures(row: Mapping[str, Any]) -> str:
    figures = [f"{one['name']} {one['own'][0]:.3g}" for one in row.get("figures", ()) if one["own"] is not None]
    return f" ({', '.join(figures)})" if figures else ""


def find_tier(name: str, outside: str = "") -> Tier:
    """Return the tier of a method of the package.

    Args:
        name: with its room: ``attribute/relp``.
        outside: what the method needs that is no part of the package, by its card.

    Example:
        >>> find_tier("attribute/nothing").name
        'experimental'
    """
    if outside:
        return Tier("experimental", f"it needs {outside}, and is only as good as that")
    entry = read_calibration().get(name)
    return NOT_STORED if entry is None else derive_tier(entry)


@cache
def read_calibration() -> Mapping[str, Any]:
    """Return the stored calibration: method → its figures, with the hashes of what they were measured on."""
    if not FILE.is_file():
        return {}
    stored: Mapping[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))["methods"]
    return stored
