"""Write the pages' TypeScript types from the server's OpenAPI schema.

python web/typescript.py            writes web/src/api/types.ts
python web/typescript.py --check    says whether that file is what would be written
"""

import sys
from pathlib import Path
from typing import Any

OUT = Path(__file__).resolve().parent / "src" / "api" / "types.ts"
HEAD = "// Generated from the server's OpenAPI schema by `python web/typescript.py`; do not edit.\n"


def interfaces(schema: dict[str, Any]) -> str:
    """Return the TypeScript interfaces of an OpenAPI document's component schemas."""
    parts = [HEAD]
    for name, one in sorted(schema["components"]["schemas"].items()):
        # FastAPI's own validation errors: the server answers in three parts instead.
        if name in ("HTTPValidationError", "ValidationError"):
            continue
        # What the server always gives is never undefined for the reader, whether or not it has a default.
        fields = "".join(
            f"  {key if key.isidentifier() else repr(key)}: {_type(value)};\n"
            for key, value in one.get("properties", {}).items()
        )
        parts.append(f"export interface {name} {{\n{fields}}}\n")
    return "\n".join(parts)


def _type(schema: dict[str, Any]) -> str:
    """Return the TypeScript type of one schema."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "const" in schema:
        return f'"{schema["const"]}"'
    if "enum" in schema:
        return " | ".join(f'"{one}"' if isinstance(one, str) else str(one) for one in schema["enum"])
    if "anyOf" in schema:
        return " | ".join(_type(one) for one in schema["anyOf"])
    match schema.get("type"):
        case "array":
            inner = _type(schema["items"])
            return f"({inner})[]" if " | " in inner else f"{inner}[]"
        case "object":
            values = schema.get("additionalProperties", True)
            return f"Record<string, {_type(values) if isinstance(values, dict) else 'unknown'}>"
        case "integer" | "number":
            return "number"
        case "string" | "boolean" | "null":
            return str(schema["type"])
    return "unknown"


def _openapi() -> dict[str, Any]:
    from patchclamp.atlas.serve.openapi import schema

    return schema()


def main() -> int:
    """Write the types, or check them."""
    text = interfaces(_openapi())
    if "--check" in sys.argv[1:]:
        same = OUT.is_file() and OUT.read_text(encoding="utf-8") == text
        print(f"{OUT.name} is {'up to date' if same else 'not what the server says: run python web/typescript.py'}")
        return 0 if same else 1
    OUT.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
