"""Prints the page configuration.md, made of the settings as they are declared: a test keeps it current."""

import sys
from typing import Any, Literal, get_args, get_origin

from loom.config import Settings, flag, variable

HEAD = """# Configuration

Every setting is a flag of `loom serve`, a variable, and a key in a YAML file given with `-c`. Flags win over
variables, variables over files, later files over earlier ones. Lists are YAML lists in files, elsewhere JSON
or separated by commas. A setting that does not exist is an error, as is an empty variable.

This page is made of the settings themselves: `python docs/reference.py`.
"""


def spelled(default: Any) -> str:
    """A default as a person would write it."""
    if default is None or default == [] or default == "":
        return "none"
    return f"`{int(default) if isinstance(default, float) and default.is_integer() else default}`"


def page() -> str:
    """The page."""
    parts = [HEAD]
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        described = " ".join((field.description or "").split())
        lines = [f"## `{name}`\n", f"{described}\n", f"- default: {spelled(default)}"]
        if choices:
            lines.append(f"- one of: {', '.join(f'`{each}`' for each in choices)}")
        lines.append(f"- also: `{flag(name)}`, `{variable(name)}`\n")
        parts.append("\n".join(lines))
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
