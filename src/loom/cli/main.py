"""The program `loom`. Owns the list of commands; each is loaded only when it is used."""

from importlib import import_module
from typing import NoReturn

import click

from loom import __version__
from loom.cli import completion, exit_codes, target
from loom.cli.command import SETTINGS, epilog, launch, summary

GROUPS = {
    "Send": {"run": "run", "push": "push"},
    "Read": {
        "tail": "tail",
        "cat": "cat",
        "grep": "grep",
        "ls": "ls",
        "show": "show",
        "spy": "spy",
        "mcp": "mcp",
    },
    "Share": {"share": "share", "token": "token"},
    "Operate": {
        "serve": "serve",
        "doctor": "doctor",
        "bench": "bench",
        "rm": "rm",
        "verify": "verify",
        "import": "import_",
        "help": "help",
    },
}
"""The commands, as the help groups them, and their modules. Each module has a `command` of that name."""
MODULES = {name: f"loom.cli.{module}" for group in GROUPS.values() for name, module in group.items()}

EXAMPLES = (
    "loom serve                            start a server: http://127.0.0.1:3060/ui/",
    "loom run build/42 -- make             run a command, and send what it prints",
    "journalctl -f | loom push host/log    send what a program writes",
    "loom tail build/42                    follow a stream until it is complete",
    "loom ls --outcome failure             list what failed",
)


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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in their groups, each with its whole summary."""
        width = max(map(len, MODULES))
        for title, group in GROUPS.items():
            commands = {name: self.get_command(ctx, name) for name in group}
            with formatter.section(title):
                formatter.write_dl(
                    [(f"{name:<{width}}", summary(each.help)) for name, each in commands.items() if each]
                )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments before the command. Raise UsageError, with advice for an option of commands."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            option = error.option_name
            commands = filter(None, (self.get_command(ctx, name) for name in MODULES))
            if not any(option in each.opts for command in commands for each in command.params):
                raise
            variable = f"LOOM_{option.removeprefix('--').upper()}"
            advice = f", or set {variable}" if variable in target.ENVIRONMENT else ""
            raise click.UsageError(
                f"{option} follows the command: loom COMMAND {option}{advice}.", ctx
            ) from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of `args`. Raise UsageError, with similar names, if there is none."""
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            # click compares with the commands that are loaded.
            raise click.exceptions.NoSuchCommand(args[0], possibilities=MODULES, ctx=ctx) from error


@click.command(cls=Commands, invoke_without_command=True, epilog=epilog(EXAMPLES), context_settings=SETTINGS)
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
