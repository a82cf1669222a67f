"""L1 sparse coders, whose loss penalises the sum of latents."""

from dataclasses import dataclass

from patchclamp.core.basis import Basis
from patchclamp.core.corpus import Corpus
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.recording import Recording, StoredRecording
from patchclamp.core.subject import Progress
from patchclamp.decompose.card_fields import SPARSE_CODER
from patchclamp.decompose.fitting import CoderOptions, Subject, make_basis
from patchclamp.decompose.sparse_coder import L1Config


@dataclass(frozen=True)
class L1Options(CoderOptions):
    """Options of L1 coders."""

    sparsity: float = option(1e-3, "penalty λ on the sum of the features")

    def config(self, n_latents: int) -> L1Config:
        """Return kind and size of the coder."""
        return L1Config(n_latents, self.skip_connection, sparsity=self.sparsity)


def l1(
    subject: Subject | None = None,
    corpus: Corpus | None = None,
    recording: Recording | StoredRecording | None = None,
    *,
    options: L1Options,
    seed: int = 0,
    progress: Progress,
) -> Basis:
    r"""Train an L1 coder at one site: the sum of the latents is a part of the loss.

    f = ReLU(W_enc (x − b_dec) + b_enc), x̂ = W_dec f + b_out, L = mean (x̂ − x)² / ‖x‖₂ + λ mean Σ f, ghost gradients
    for dead latents. Of a transcoder x̂ estimates another site's y, in whose place x stands in the loss.

    Args:
        subject: a language model, with a corpus.
        corpus: a text whose activations it is trained on.
        recording: activations, rows × width, in the place of both.
        options: size, λ, how it is trained.
        seed: of the directions at first and of the order of activations.
        progress: called with activations done and in all.

    Returns:
        Basis: E, D and the biases, its scales folded in; D has unit rows, features × width.

    Raises:
        PatchclampError: fewer activations than one batch, activations that are not finite, numbers that do not fit.

    Source: Cunningham et al. (2023), 2309.08600, equations 1 to 4, and Bricken et al. (2023), Towards
    Monosemanticity, which takes b_dec from x; loss, transcoder and ghost gradients as in 2406.11944, section 3 and
    its code, with y − ŷ for x − ŷ.

    Cost: one pass of the subject per pass over the activations; a step takes six products of a batch by latents.

    Example:
        >>> from patchclamp.decompose import decompose
        >>> from patchclamp.organisms import superposition
        >>> rows = superposition.make().recording
        >>> decompose(rows, method="l1", n_features=8, coder_batch=2000).bases["x"].n_units
        8
    """
    return make_basis(options, "l1", subject, corpus, recording, seed=seed, progress=progress)


def _cost(sizes: Sizes, options: L1Options) -> Cost:
    n = options.features(sizes.units)
    return Cost(forward=sizes.rows * options.passes, bytes=32 * n * sizes.units + 24 * options.coder_batch * n)


METHOD = Method(
    l1,
    name="l1",
    room="decompose",
    title="L1 sparse coder or transcoder",
    question="Which directions is activity made of, small in sum?",
    papers=(Paper("2309.08600", equation="1 to 4"), Paper("2406.11944", equation="section 3")),
    cost=_cost,
    oracle="oracles.sparse_coder:l1",
    options_at={
        "superposition*": {"n_features": 64, "coder_batch": 256, "passes": 20, "learning_rate": 0.005, "sparsity": 0.01}
    },
    quick={"coder_batch": 2000, "passes": 1, "learning_rate": 0.001},
    **SPARSE_CODER,
)
