"""Do the units of two models stand for the same tokens? A base model beside its fine-tune."""

import numpy as np

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.descriptions import Descriptions
from patchclamp.core.errors import PatchclampError
from patchclamp.core.estimate import Estimate
from patchclamp.core.stats import Interval, wilson_interval

DRAWS = 999


@checked
def compare_first_tokens(first: Descriptions, second: Descriptions, *, seed: Natural = 0) -> Estimate:
    """Measure which share of units two models describe by the same first term.

    Units are compared by site and number; one that either model gives no term is left out. The null shuffles the second
    model's descriptions among the units of each site: frequent tokens make some equal by chance.

    Args:
        first: of the base model, as ``describe`` gives them.
        second: of its fine-tune, by the same method and options.
        seed: of the shuffles.

    Returns:
        Estimate: share of units with Wilson's interval; its null and p.

    Raises:
        PatchclampError: descriptions of other units, or by other terms.

    Source: 2501.02688, where 75.4 % of up-projection neurons keep their first token from base to Instruct; the shuffled
    null is ours.

    Cost: 999 permutations of the units.

    Example:
        >>> from patchclamp.describe import describe
        >>> from patchclamp.loaders import load
        >>> words = describe(load("organism:cat"), tokens=1)
        >>> compare_first_tokens(words, words).value
        1.0
    """
    units = [[words.index.unit(i) for i in range(len(words))] for words in (first, second)]
    keys = [[(one.site, one.basis, one.index) for one in some] for some in units]
    if keys[0] != keys[1] or list(first.vocabulary) != list(second.vocabulary):
        what = "other units" if keys[0] != keys[1] else "another vocabulary"
        raise PatchclampError(
            expected="descriptions of the same units by the same terms",
            got=f"{len(first):,} and {len(second):,} units, with {what}",
            remedy="Describe a model and its fine-tune with one method and the same options.",
        )
    own, other = (words.terms[:, 0] if words.terms.shape[1] else np.full(len(words), -1) for words in (first, second))
    known = (own >= 0) & (other >= 0)
    n = int(known.sum())
    if not n:
        return Estimate(float("nan"), None, 0, "share of units")
    site = np.unique([one.site for one in units[0]], return_inverse=True)[1][known]
    own, other = own[known], other[known]
    draw = np.random.default_rng(seed)
    # Sorted by site and then by a draw: a permutation within every site.
    null = np.array([(own == other[np.lexsort((draw.random(n), site))]).mean() for _ in range(DRAWS)])
    same = int((own == other).sum())
    low, high = np.quantile(null, [0.025, 0.975])
    around = Interval(float(low), float(high), 0.95, f"{DRAWS} shuffles within sites")
    p = float((1 + (null >= same / n).sum()) / (1 + DRAWS))
    return Estimate(same / n, wilson_interval(same, n), n, "share of units", around, p, 1.0)
