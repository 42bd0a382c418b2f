"""
Signatures of msgspec structs and named tuples for the reference: their fields are what makes one.

A reader of source sees a class without a constructor there. Its fields would then show only where a docstring has them.
"""

from __future__ import annotations

import griffe

MAKERS = ("msgspec.Struct", "typing.NamedTuple")


class StructSignatures(griffe.Extension):
    """Gives each struct and named tuple the constructor that it has when the program runs."""

    def on_class(self, *, cls: griffe.Class, **kwargs: object) -> None:
        """Add the constructor of one class."""
        if "__init__" in cls.members or not is_made_of_fields(cls):
            return
        alone = "kw_only" in cls.keywords
        kind = griffe.ParameterKind.keyword_only if alone else griffe.ParameterKind.positional_or_keyword
        fields = [
            griffe.Parameter(field.name, annotation=field.annotation, kind=kind, default=field.value)
            for field in cls.members.values()
            if isinstance(field, griffe.Attribute) and field.annotation is not None and "property" not in field.labels
        ]
        itself = griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)
        init = griffe.Function("__init__", parameters=griffe.Parameters(itself, *fields), returns="None")
        cls.set_member("__init__", init)


def is_made_of_fields(cls: griffe.Class) -> bool:
    """Tell whether a class is a struct or a named tuple, itself or through a base of the same package."""
    for base in cls.bases:
        path = base if isinstance(base, str) else base.canonical_path
        if path in MAKERS:
            return True
        parent = cls.modules_collection[path] if path.startswith("consent_mw.") else None
        if isinstance(parent, griffe.Class) and is_made_of_fields(parent):
            return True
    return False
