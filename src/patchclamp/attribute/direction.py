"""Which run is patched into: there every gradient is taken, and there every part is replaced."""

from patchclamp.core.errors import PatchclampError
from patchclamp.subjects.cases import Cases

DIRECTIONS = ("noise", "denoise")
"""noise: values of x′ (or a baseline) into the run on x, where scores predict m(x) − m(x with the part as in x′);
denoise: values of x into the run on x′, where they predict m(x′ with the part as in x) − m(x′)."""


def check_direction(direction: str) -> None:
    """Refuse a direction that is none.

    Raises:
        PatchclampError: neither noise nor denoise.
    """
    if direction not in DIRECTIONS:
        raise PatchclampError(expected="noise or denoise", got=repr(direction), remedy="Say which run is patched into.")


def orient(cases: Cases, direction: str) -> tuple[Cases, float]:
    """Return pairs whose clean prompt is the one that is patched into, and the sign that scores then take.

    A gradient at x foretells what values of x′ do in the run on x. To denoise is to noise with both ends exchanged,
    so one rule serves both: differentiate, or replace, in the clean run of what is returned, and multiply by the sign.

    Args:
        cases: prompts x and x′.
        direction: ``noise`` or ``denoise``.

    Raises:
        PatchclampError: neither of them.
    """
    check_direction(direction)
    return (cases, 1.0) if direction == "noise" else (cases.exchange(), -1.0)
