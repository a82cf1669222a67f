"""From the name of an engine to one that computes."""

from importlib.util import find_spec

from patchclamp.core.arguments import Positive, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.engines.engine import Engine, Serial

ENGINES = ("serial", "ray")


@checked
def open_engine(name: str = "serial", *, address: str | None = None, workers: Positive | None = None) -> Engine:
    """Return an engine: a context manager that ends what it started.

    Args:
        name: ``serial``, this process, or ``ray``, which the extra ``scale`` brings.
        address: of a Ray cluster that runs, such as ``auto`` or ``10.0.0.1:6379``; without one Ray is started on this
            machine, for this run.
        workers: processes that each hold the subject (default: as many as the processors allow).

    Returns:
        Engine: what ``record``, ``survey``, ``decompose`` and ``bake_atlas`` take as ``engine``.

    Raises:
        PatchclampError: no such engine, options of another one, or Ray is not installed.

    Example:
        >>> with open_engine() as engine:
        ...     engine.name
        'serial'
    """
    refuse_engine(name, address=address, workers=workers)
    if name == "serial":
        return Serial()
    from patchclamp.engines.ray_workers import RayEngine

    return RayEngine(address=address, workers=workers)


def refuse_engine(name: str, *, address: str | None = None, workers: int | None = None) -> None:
    """Refuse what is no engine, and options of another one, before anything is loaded; see ``open_engine``."""
    if name not in ENGINES:
        raise PatchclampError(
            expected=f"an engine among {', '.join(ENGINES)}", got=repr(name), remedy="Choose one for --engine."
        )
    if name == "serial":
        given = {"--address": address, "--workers": workers}
        if typed := [flag for flag, value in given.items() if value is not None]:
            raise PatchclampError(
                expected="--address and --workers with --engine ray",
                got=f"{' and '.join(typed)} without it",
                remedy="Add --engine ray.",
            )
        return
    if workers is not None and workers < 1:
        raise PatchclampError(expected="at least 1 with --workers", got=str(workers), remedy="Give a whole number.")
    if find_spec("ray") is None:
        raise PatchclampError(
            expected="Ray, for --engine ray", got="none installed", remedy="pip install 'patchclamp[scale]'"
        )
