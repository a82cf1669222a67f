"""Print the schema of the server's answers, from which the browser's types are made.

``python -m patchclamp.atlas.serve.openapi`` prints it; no atlas is needed.
"""

import json
from typing import Any


def schema() -> dict[str, Any]:
    """Return the OpenAPI schema.

    Example:
        >>> "UnitPage" in schema()["components"]["schemas"]
        True
    """
    from patchclamp.atlas.serve.app import make_app

    def none() -> Any:
        raise RuntimeError("the schema needs no atlas")

    return make_app(none).openapi()


if __name__ == "__main__":
    print(json.dumps(schema(), indent=1, sort_keys=True))
