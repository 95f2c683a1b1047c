"""Completion for bash, zsh and fish: `loom --show-completion` and `loom --install-completion`."""

import os
from pathlib import Path
from typing import Any

import click
from click.shell_completion import get_completion_class

VARIABLE = "_LOOM_COMPLETE"
"""Set by the scripts; click's name for the program `loom`."""
FILES = {
    "bash": (".bash_completions/loom.sh", ".bashrc", "source ~/.bash_completions/loom.sh"),
    "zsh": (".zfunc/_loom", ".zshrc", "fpath+=~/.zfunc; autoload -Uz compinit; compinit"),
    "fish": (".config/fish/completions/loom.fish", None, ""),
}
"""By shell, below the home directory: the script, the file that loads it, and the line that loads it."""


def show(context: click.Context, option: click.Parameter, wanted: bool) -> None:
    """Print the script and exit, if `wanted`."""
    if wanted:
        click.echo(_script(context, _shell()), nl=False)
        context.exit()


def install(context: click.Context, option: click.Parameter, wanted: bool) -> None:
    """Write the script, have the shell load it, and exit, if `wanted`."""
    if not wanted:
        return
    shell = _shell()
    script, startup, line = FILES[shell]
    path = Path.home() / script
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_script(context, shell))
    if startup is not None:
        with (Path.home() / startup).open("a+") as file:
            file.seek(0)
            if line not in file.read():
                file.write(f"\n{line}\n")
    click.echo(f"Completion for {shell} is installed in {path}. It works in new shells.")
    context.exit()


def _script(context: click.Context, shell: str) -> str:
    kind = get_completion_class(shell)
    assert kind
    return kind(context.command, {}, "loom", VARIABLE).source()


def _shell() -> str:
    """Return the name of the shell that started this process."""
    try:
        parent = Path(f"/proc/{os.getppid()}/comm").read_text().strip()
    except OSError:
        parent = ""
    for name in (parent, Path(os.environ.get("SHELL", "")).name):
        if name in FILES:
            return name
    raise click.UsageError(f"Completion exists for {', '.join(FILES)} only; this shell is none of them.")


def _flag(name: str, callback: Any, text: str) -> Any:
    return click.option(name, is_flag=True, expose_value=False, is_eager=True, callback=callback, help=text)


def options(function: Any) -> Any:
    """Add both options to a command."""
    showing = _flag("--show-completion", show, "Print the completion script of this shell and exit.")
    installing = _flag("--install-completion", install, "Install completion for this shell and exit.")
    return installing(showing(function))
