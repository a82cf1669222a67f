"""The screens of an atlas, a file or folder each, found by listing this folder.

A screen has the types of its answers, each a frozen dataclass, and ``add_routes(app, served)``, which adds the
addresses that give them. The OpenAPI schema is made from the types, and the browser's types from that schema.
"""
