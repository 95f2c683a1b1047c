"""The command `loom help`: help on a command, and the topics that concern all commands."""

import textwrap
from collections.abc import Mapping

import click

from loom.cli import exit_codes, target
from loom.cli.command import declare
from loom.cli.running import write

WIDTH = 100


def _exit_codes() -> str:
    return _table(exit_codes.MEANINGS) + "\n" + textwrap.fill(exit_codes.RUN, WIDTH)


def _environment() -> str:
    return _table(target.ENVIRONMENT) + "\nEvery setting of the server has a variable too: loom serve --help."


TOPICS = {"exit-codes": _exit_codes, "environment": _environment}


@declare("help", "loom help exit-codes", "loom help push")
@click.argument(
    "topic",
    metavar="[COMMAND | exit-codes | environment]",
    required=False,
    shell_complete=lambda context, _, start: [
        each for each in (*_program(context).list_commands(context), *TOPICS) if each.startswith(start)
    ],
)
@click.pass_context
def command(context: click.Context, topic: str | None) -> None:
    """Show help on a command or a topic."""
    program = context.find_root()
    if topic is None:
        text = program.get_help()
    elif topic in TOPICS:
        text = TOPICS[topic]()
    else:
        _, found, _ = _program(context).resolve_command(program, [topic])
        assert found
        with click.Context(found, info_name=topic, parent=program) as inner:
            text = inner.get_help()
    write(f"{text}\n".encode())


def _program(context: click.Context) -> click.Group:
    program = context.find_root().command
    assert isinstance(program, click.Group)
    return program


def _table(rows: Mapping[int, str] | Mapping[str, str]) -> str:
    width = max(len(str(name)) for name in rows) + 2
    lines = (
        textwrap.fill(meaning, WIDTH, initial_indent=f"{name:<{width}}", subsequent_indent=" " * width)
        for name, meaning in rows.items()
    )
    return "\n".join(lines) + "\n"
