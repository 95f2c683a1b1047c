"""The command `loom serve`. Owns its flags: one for every setting, derived from the setting's declaration."""

import os
import signal
from functools import cache
from pathlib import Path
from typing import Any

import click

from loom.cli import exit_codes
from loom.cli.command import Command, Stop, declare
from loom.errors import LoomError


class Serve(Command):
    """The command. Settings, and with them pydantic, are loaded only when it is used."""

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        """Parse the arguments."""
        # A SIGHUP that arrives before its handler is installed must wait, not kill the process.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        return super().make_context(*args, **more)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return --config, the settings and --help."""
        config, *others = super().get_params(ctx)
        return [config, *_settings(), *others]


@declare(
    "serve",
    "loom serve --data ./data --port 3060",
    "loom serve -c /etc/loom/loom.yaml",
    cls=Serve,
)
@click.option(
    "--config",
    "-c",
    "files",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="YAML file, or a directory of them; repeatable.",
)
def command(files: tuple[Path, ...], **given: str | None) -> int:
    """Run the server.

    Settings come from flags, then from environment variables, then from the files of --config. A later file
    wins over an earlier one. SIGTERM and SIGINT stop the server.
    """
    from loom import config
    from loom.cli.serving import serve

    flags = {name: value for name, value in given.items() if value is not None}
    try:
        return serve(lambda: config.load(files, os.environ, flags))
    except LoomError as error:
        raise Stop(exit_codes.USAGE, str(error)) from None


@cache
def _settings() -> list[click.Option]:
    from loom.config import Settings, default, description, flag, metavar, variable

    return [
        click.Option(
            [flag(name), name],
            metavar=metavar(name),
            help=f"{description(name)} [{variable(name)}; default: {default(name) or 'none'}]",
        )
        for name in Settings.model_fields
    ]
