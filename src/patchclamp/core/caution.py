"""What a reader must know of figures that rest on few values."""

FEW = 10
"""Values below which a bootstrap interval comes with a caution."""


def caution(n: int, what: str) -> str:
    """Return what a reader must know of a bootstrap over few values: n → a sentence, or nothing where they are many.

    Args:
        n: values that were resampled.
        what: their name in the plural.

    Example:
        >>> caution(3, "pairs")
        'Only 3 pairs: intervals end at the smallest and the largest of them at most, and are too narrow; take 10.'
        >>> caution(10, "pairs")
        ''
    """
    if not 1 < n < FEW:
        return ""
    return (
        f"Only {n} {what}: intervals end at the smallest and the largest of them at most, and are too narrow; take "
        f"{FEW}."
    )
