"""How the hub is reached: quietly, and only where there is a network."""

import os
import socket
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies


def hub_options() -> dict[str, Any]:
    """Return the options under which huggingface_hub fetches files: from its cache alone where no network is.

    Without a network it would try each file six times, for half a minute, and print each attempt.

    Returns:
        dict[str, Any]: ``local_files_only``.

    Cost: one lookup of the hub's name.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import logging

    logging.set_verbosity(logging.CRITICAL)  # its retries; the error that follows says what failed
    host = urlsplit(os.environ.get("HF_ENDPOINT", constants.ENDPOINT)).hostname
    return {"local_files_only": not _is_known(host)}


def _is_known(host: str | None) -> bool:
    """Return whether a host's name leads to an address; a proxy may know names that this machine does not."""
    if host is None or getproxies():
        return True
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
