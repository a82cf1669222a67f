"""Circuit: find the parts that carry answers over many pairs, and say whether it is true."""

from argparse import Namespace

from patchclamp.cli.circuit_evaluate import evaluate


def circuit(options: Namespace) -> int:
    """Do what the word after ``circuit`` says."""
    return {"find": _find, "evaluate": evaluate}[options.what](options)


def _find(options: Namespace) -> int:
    raise NotImplementedError(options.method)
