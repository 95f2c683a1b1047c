"""The program `loom`. Owns the list of commands; each loads what it needs only when it is called."""

import signal
import sys

import typer

from loom import __version__
from loom.cli import listing
from loom.cli.cat import EPILOG as CAT_EPILOG
from loom.cli.cat import cat
from loom.cli.tail import EPILOG as TAIL_EPILOG
from loom.cli.tail import tail

ITSELF = {"ignore_unknown_options": True, "allow_extra_args": True}
"""Context settings of a command that reads its arguments itself."""

# Without Rich, which takes as long to load as all the rest of `loom --help`.
app = typer.Typer(
    help="Live byte streams over HTTP: stored as they arrive, followed in real time, replayed later.",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def options(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    """What holds for every command."""
    if version:
        typer.echo(f"loom {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(context_settings=ITSELF, add_help_option=False)
def serve(context: typer.Context) -> None:
    """Run the server."""
    # The first of SIGHUP is to be heard, and not to kill: it waits for its handler.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    from loom.cli import serve

    serve.main(context.args)


@app.command(context_settings=ITSELF, add_help_option=False)
def push(context: typer.Context) -> None:
    """Send a file or standard input as a stream, through losses and restarts; or what was left of it."""
    from loom.cli import push

    push.main(context.args)


@app.command(context_settings=ITSELF, add_help_option=False)
def run(context: typer.Context) -> None:
    """Run a command, and send what it prints as a stream."""
    from loom.cli import run

    run.main(context.args)


@app.command(context_settings=ITSELF, add_help_option=False)
def share(context: typer.Context) -> None:
    """Print a link with which whoever has it may read one stream for a while."""
    from loom.cli import share

    share.main(context.args, "share")


@app.command(context_settings=ITSELF, add_help_option=False)
def token(context: typer.Context) -> None:
    """Print a token that allows no more than is said, for a while."""
    from loom.cli import share

    share.main(context.args, "token")


@app.command(context_settings=ITSELF, add_help_option=False)
def verify(context: typer.Context) -> None:
    """Look for damage in a data directory that no server is using."""
    from loom.cli import verify

    verify.main(context.args)


app.command(epilog=CAT_EPILOG)(cat)
app.command(epilog=TAIL_EPILOG)(tail)
app.command(epilog=listing.LS_EPILOG)(listing.ls)
app.command(epilog=listing.SHOW_EPILOG)(listing.show)
app.command(epilog=listing.RM_EPILOG)(listing.rm)
app.command(epilog=listing.SPY_EPILOG)(listing.spy)


@app.command(context_settings=ITSELF, add_help_option=False)
def doctor(context: typer.Context) -> None:
    """Say what breaks streams between here and a server."""
    from loom.cli import doctor

    doctor.main(context.args)


@app.command(context_settings=ITSELF, add_help_option=False)
def bench(context: typer.Context) -> None:
    """Measure how fast a server is from here."""
    from loom.cli import bench

    bench.main(context.args)


@app.command("import", context_settings=ITSELF, add_help_option=False)
def import_(context: typer.Context) -> None:
    """Take the streams of ProboCI's loom into a data directory that no server is using."""
    from loom.cli import importing

    importing.main(context.args)


def main() -> None:
    """Run the command that was asked for."""
    # Past Typer, which loads pydantic before it calls any command, and takes a `--` for itself.
    if sys.argv[1:2] == ["push"]:
        from loom.cli import push

        push.main(sys.argv[2:])
    if sys.argv[1:2] == ["run"]:
        from loom.cli import run

        run.main(sys.argv[2:])
    app(prog_name="loom")
