"""JumpReLU sparse coders, with a learnt threshold for every latent."""

from dataclasses import dataclass

from patchclamp.core.basis import Basis
from patchclamp.core.corpus import Corpus
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.recording import Recording, StoredRecording
from patchclamp.core.subject import Progress
from patchclamp.decompose.card_fields import SPARSE_CODER
from patchclamp.decompose.fitting import CoderOptions, Subject, make_basis
from patchclamp.decompose.sparse_coder import JumpReLUConfig


@dataclass(frozen=True)
class JumpReLUOptions(CoderOptions):
    """Options of JumpReLU coders."""

    sparsity: float = option(1e-3, "penalty λ on the number of active features")

    def config(self, n_latents: int) -> JumpReLUConfig:
        """Return kind and size of the coder."""
        return JumpReLUConfig(n_latents, self.skip_connection, sparsity=self.sparsity)


def jumprelu(
    subject: Subject | None = None,
    corpus: Corpus | None = None,
    recording: Recording | StoredRecording | None = None,
    *,
    options: JumpReLUOptions,
    seed: int = 0,
    progress: Progress,
) -> Basis:
    r"""Train a JumpReLU coder at one site: each latent is on above a threshold of its own.

    f = JumpReLU_θ(W_enc x + b_enc) = a ⊙ H(a − θ), x̂ = W_dec f + b_dec, L = ‖x − x̂‖² + λ ‖f‖₀. The gradient in θ is
    that of the expected loss, estimated by a rectangle kernel K of width ε: ∂f/∂θ = −(θ/ε) K((a − θ)/ε), ∂‖f‖₀/∂θ =
    −(1/ε) K((a − θ)/ε).

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

    Source: Rajamanoharan et al. (2024), 2407.14435, equations 7 to 12; transcoders: 2406.11944. Departs from it in
    vectors scaled to E‖x‖² = d, means over entries, and b_dec taken from x first.

    Cost: one pass of the subject per pass over the activations; a step takes six products of a batch by latents.

    Example:
        >>> from patchclamp.decompose import decompose
        >>> from patchclamp.organisms import superposition
        >>> rows = superposition.make().recording
        >>> decompose(rows, method="jumprelu", n_features=8, coder_batch=2000).bases["x"].n_units
        8
    """
    return make_basis(options, "jumprelu", subject, corpus, recording, seed=seed, progress=progress)


def _cost(sizes: Sizes, options: JumpReLUOptions) -> Cost:
    n = options.features(sizes.units)
    return Cost(forward=sizes.rows * options.passes, bytes=32 * n * sizes.units + 24 * options.coder_batch * n)


METHOD = Method(
    jumprelu,
    name="jumprelu",
    room="decompose",
    title="JumpReLU sparse coder or transcoder",
    question="Which directions is activity made of, each above a threshold of its own?",
    papers=(Paper("2407.14435", equation="7 to 12"), Paper("2406.11944", equation="section 3")),
    cost=_cost,
    oracle="oracles.sparse_coder:jumprelu",
    options_at={
        "superposition*": {"n_features": 64, "coder_batch": 256, "passes": 20, "learning_rate": 0.005, "sparsity": 0.1}
    },
    quick={"coder_batch": 2000, "passes": 1, "learning_rate": 0.001},
    **SPARSE_CODER,
)
