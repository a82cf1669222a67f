"""Which run is patched into: there gradients are taken and units replaced."""

from patchclamp.core.checks import one_of
from patchclamp.core.errors import PatchclampError
from patchclamp.subjects.cases import ReadTask

DIRECTIONS = ("noise", "denoise")
"""noise: values of x′ (or a baseline) into the run on x, where scores predict m(x) − m(x with the part as in x′);
denoise: values of x into the run on x′, where they predict m(x′ with the part as in x) − m(x′)."""


def check_direction(direction: str) -> None:
    """Refuse an unknown direction.

    Raises:
        PatchclampError: neither noise nor denoise.
    """
    one_of(
        "direction",
        direction,
        DIRECTIONS,
        remedy="denoise patches clean values into corrupted runs, noise the reverse.",
    )


def orient(cases: ReadTask, direction: str) -> tuple[ReadTask, float]:
    """Return cases whose clean prompt is the one that is patched into, and the sign of their scores.

    A gradient at x predicts what values of x′ do in the run on x. To denoise is to noise with both ends exchanged, so
    one rule serves both: differentiate, or replace, in the clean run of what is returned, and multiply by the sign.

    Args:
        cases: prompts x and x′.
        direction: ``noise`` or ``denoise``.

    Raises:
        PatchclampError: neither of them.
    """
    check_direction(direction)
    return (cases, 1.0) if direction == "noise" else (cases.exchange(), -1.0)


def check_one_length(cases: ReadTask) -> int:
    """Return the number of positions that all cases have.

    Raises:
        PatchclampError: pairs of several lengths, whose positions are not the same places.
    """
    lengths = sorted({len(prompt) for prompt in cases.clean})
    if len(lengths) > 1:
        raise PatchclampError(
            expected="pairs of one length, whose positions are the same places",
            got=f"prompts of {', '.join(map(str, lengths))} tokens",
            remedy="Leave positions together, or keep the pairs of one template.",
        )
    return lengths[0]
