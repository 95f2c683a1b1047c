"""Writes what the documentation takes from the code: configuration.md, commands.md, tables of the README and
http.md.
"""

import re
from pathlib import Path
from typing import Literal, get_args, get_origin

import click

from loom.cli.main import GROUPS, loom
from loom.config import Settings, default, description, flag, variable

DOCS = Path(__file__).parent
HEAD = """# Configuration

Every setting is a flag of `loom serve`, an environment variable, and a key in a YAML file given with `-c`.
Flags override variables, variables override files, and later files override earlier ones. Lists are YAML
lists in files, elsewhere JSON or separated by commas. An unknown setting is an error, and so is an empty
variable.

`python docs/reference.py` generates this page.
"""
COMMANDS = """# Commands

`loom COMMAND --help` prints what is below. Server and token come from flags, from `LOOM_SERVER` and
`LOOM_TOKEN`, or from `~/.config/loom/client.yaml`. [](exit-codes.md) lists the exit codes.

`python docs/reference.py` generates this page.
"""
TABLE = re.compile(r"(?<=<!-- settings -->\n).*?(?=<!-- end of settings -->)", re.DOTALL)


def shown(name: str) -> str:
    """Return the default of a setting as Markdown."""
    return f"`{default(name)}`" if default(name) else "none"


def page() -> str:
    """Return the text of configuration.md."""
    parts = [HEAD]
    for name, field in Settings.model_fields.items():
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        lines = [f"## `{name}`\n", f"{description(name)}\n", f"- default: {shown(name)}"]
        if choices:
            lines.append(f"- one of: {', '.join(f'`{each}`' for each in choices)}")
        lines.append(f"- also: `{flag(name)}`, `{variable(name)}`\n")
        parts.append("\n".join(lines))
    return "\n".join(parts)


def commands() -> str:
    """Return the text of commands.md."""
    parts = [COMMANDS]
    root = click.Context(loom, info_name="loom")
    for group, names in GROUPS.items():
        parts.append(f"## {group}\n")
        for name in names:
            command = loom.get_command(root, name)
            assert command
            given = {**command.context_settings, "terminal_width": 100}
            context = click.Context(command, root, info_name=name, **given)
            text = command.get_help(context).partition("\n\n  Exit codes:")[0]
            if name == "serve":
                text = text.partition("Options:")[0] + "Options: every setting (configuration.md)"
            parts.append(f"### loom {name}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def with_table(text: str) -> str:
    """Return `text` with the table of settings between its markers."""
    rows = [f"| `{name}` | {shown(name)} | {description(name)} |" for name in Settings.model_fields]
    table = "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows, ""])
    return TABLE.sub(lambda _: table, text)


if __name__ == "__main__":
    import http_reference  # beside this file, which Python adds to the path

    (DOCS / "configuration.md").write_text(page())
    (DOCS / "commands.md").write_text(commands())
    readme = DOCS.parent / "README.md"
    readme.write_text(with_table(readme.read_text()))
    http_reference.write()
