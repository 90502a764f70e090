"""Fields of a checkpoint's config.json that a user had ignored, as a manifest keeps them.

They are provenance and change nothing that a reader does, so they are in `written_by`
(docs/decisions/0020).
"""

from collections.abc import Mapping, Sequence

from ancestral.errors import InvalidInput

_KEY, _BETWEEN = "ignored fields", ", "
_LONGEST = 1000


def noted(fields: Sequence[str]) -> dict[str, str]:
    """What `written_by` says of these fields; nothing where there are none.

    Raises:
        InvalidInput: their names are too long together.

    >>> noted(["my_note", "stage"])
    {'ignored fields': 'my_note, stage'}
    """
    names = _BETWEEN.join(fields)
    if len(names) > _LONGEST:
        raise InvalidInput(
            f"ignored fields: expected at most {_LONGEST} characters of names, got {len(names)}: "
            f"take the fields out of config.json"
        )
    return {_KEY: names} if fields else {}


def ignored_fields(written_by: Mapping[str, str]) -> list[str]:
    """The fields that `written_by` names.

    >>> ignored_fields({"torch": "2.9", "ignored fields": "my_note, stage"})
    ['my_note', 'stage']
    """
    return written_by[_KEY].split(_BETWEEN) if _KEY in written_by else []


def versions(written_by: Mapping[str, str]) -> dict[str, str]:
    """The rest of `written_by`: versions of packages."""
    return {name: value for name, value in written_by.items() if name != _KEY}
