"""Standing: which family keeps which part of the contract, as it was last measured; needs no framework to read."""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

FILE, IMAGES = "standing.json", "vision_standing.json"
"""Of families of text, and of images."""


def standing(file: str = FILE) -> dict[str, Any]:
    """Return what ``standing.json`` holds, the file that tests compare with every new measurement.

    Args:
        file: ``FILE`` for families of text, ``IMAGES`` for those of images.

    Returns:
        ``parts``: name and limit of each; ``families``: by name the classes, and for each part its deviation with the
        first of the wrong mapping above the limit (null where it broke outright), or why it is excluded.

    Example:
        >>> standing()["families"]["llama"]["classes"]
        ['LlamaForCausalLM']
    """
    found: dict[str, Any] = json.loads(files(__package__).joinpath(file).read_text())
    return found


def entry(classes: Sequence[str], verdicts: Sequence[Any]) -> dict[str, Any]:
    """Return a family's entry: figures to one digit, for others they differ by the machine."""
    return {"classes": list(classes), "parts": [_part(v) for v in verdicts]}


def _part(verdict: Any) -> dict[str, Any]:
    if verdict.excluded:
        return {"excluded": verdict.excluded}
    return {"deviation": _short(verdict.deviation), "rejected": _short(verdict.rejected)}


def _short(figure: float | None) -> float | None:
    return None if figure is None or figure == float("inf") else float(f"{figure:.0e}")


def drift(old: Mapping[str, Any], new: Mapping[str, Any], limits: Sequence[float]) -> list[str]:
    """Return in what a new entry departs from the old one: classes, exclusions, or figures by more than ten times."""
    found = [] if old["classes"] == new["classes"] else ["classes"]
    for i, (was, now, limit) in enumerate(zip(old["parts"], new["parts"], limits, strict=True), 1):
        figures = "excluded" not in was and "excluded" not in now
        if was.get("excluded") != now.get("excluded"):
            found.append(f"part {i}: excluded")
        elif figures and (now["deviation"] is None or now["deviation"] > max(10 * was["deviation"], limit / 10)):
            found.append(f"part {i}: {was['deviation']} then, {now['deviation']} now")
    return found
