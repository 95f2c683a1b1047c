"""The program `loom`. Owns the list of commands; each is loaded only when it is used."""

from importlib import import_module
from typing import NoReturn

import click

from loom import __version__
from loom.cli import completion, exit_codes
from loom.cli.command import SETTINGS, TOPICS, launch

MODULES = {
    "serve": "loom.cli.serve",
    "push": "loom.cli.push",
    "run": "loom.cli.run",
    "share": "loom.cli.share",
    "token": "loom.cli.token",
    "verify": "loom.cli.verify",
    "cat": "loom.cli.cat",
    "tail": "loom.cli.tail",
    "ls": "loom.cli.ls",
    "show": "loom.cli.show",
    "rm": "loom.cli.rm",
    "spy": "loom.cli.spy",
    "doctor": "loom.cli.doctor",
    "bench": "loom.cli.bench",
    "import": "loom.cli.import_",
    "help": "loom.cli.help",
}
"""The module of each command. Its `command` declares name, arguments, help and function."""


class Commands(click.Group):
    """The commands of MODULES."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of the help."""
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load and return the command, or return None if there is none of this name."""
        if cmd_name not in MODULES:
            return None
        command: click.Command = import_module(MODULES[cmd_name]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of `args`. Raise UsageError, with similar names, if there is none."""
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            # click compares with the commands that are loaded.
            raise click.exceptions.NoSuchCommand(args[0], possibilities=MODULES, ctx=ctx) from error


@click.command(cls=Commands, invoke_without_command=True, epilog=TOPICS, context_settings=SETTINGS)
@click.version_option(__version__, message="loom %(version)s", help="Print the version and exit.")
@completion.options
@click.pass_context
def loom(context: click.Context) -> int:
    """Store live byte streams over HTTP, follow them in real time, and replay them later."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    return exit_codes.OK


def main() -> NoReturn:
    """Run the command that the arguments name."""
    launch(loom, "loom")
