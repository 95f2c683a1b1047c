"""The list of commands, their help, the topics that concern all of them, and completion."""

import importlib
import re
from pathlib import Path

import click
import pytest
from tests.support.program import run

import loom.cli
from loom.cli import exit_codes, target
from loom.cli.main import EXAMPLES, MODULES
from loom.model import State

SOURCE = Path(loom.cli.__file__).parent
PROGRAMS = [["stream"], *(["loom", name] for name in MODULES)]


@pytest.mark.parametrize("name", MODULES)
def test_each_command_is_declared_under_its_name_with_a_summary_that_fits(name):
    command = importlib.import_module(MODULES[name]).command
    assert command.name == name
    with click.Context(command, max_content_width=80):
        assert not command.get_short_help_str(limit=78 - 8).endswith("...")


def test_every_module_that_declares_a_command_is_listed():
    found = {f"loom.cli.{path.stem}" for path in SOURCE.glob("*.py") if "\n@declare(" in path.read_text()}
    assert found == {*MODULES.values(), "loom.cli.stream"}


@pytest.mark.parametrize("program", PROGRAMS, ids=" ".join)
@pytest.mark.parametrize("flag", ["-h", "--help"])
async def test_help_shows_examples_and_where_exit_codes_and_variables_are_listed(program, flag):
    code, out, err = await run(*program, flag)
    assert (code, err) == (exit_codes.OK, "")
    for words in ("  Examples:\n    ", " ".join(program), "loom help exit-codes", "loom help environment"):
        assert words in out


@pytest.mark.parametrize("columns", ["80", "40"])
async def test_help_shows_every_command_in_its_group_with_its_whole_summary(columns):
    for arguments in ([], ["--help"], ["-h"], ["help"]):
        code, out, err = await run("loom", *arguments, env={"COLUMNS": columns})
        assert (code, err) == (exit_codes.OK, "")
        assert [name for name in MODULES if f"\n  {name} " not in out] == []
        assert re.findall(r"^(\w+):$", out, re.MULTILINE) == ["Options", "Send", "Read", "Share", "Operate"]
        assert "..." not in out.partition("\nSend:\n")[2].partition("Examples:")[0]


async def test_every_example_of_the_program_has_a_command_that_exists():
    assert len(EXAMPLES) == 5
    for example in EXAMPLES:
        assert example.partition("loom ")[2].split()[0] in MODULES


async def test_help_on_a_command_is_the_help_of_that_command():
    assert await run("loom", "help", "serve") == await run("loom", "serve", "--help")


async def test_help_on_exit_codes_and_on_the_environment_lists_all_of_them():
    _, out, _ = await run("loom", "help", "exit-codes")
    words = " ".join(out.split())
    assert [code for code, text in exit_codes.MEANINGS.items() if f"{code} {text}" not in words] == []
    _, out, _ = await run("loom", "help", "environment")
    words = " ".join(out.split())
    assert [name for name, text in target.ENVIRONMENT.items() if f"{name} {text}" not in words] == []


@pytest.mark.parametrize("arguments", [["cta"], ["help", "cta"]])
async def test_a_command_that_does_not_exist_is_refused_with_a_similar_one(arguments):
    code, out, err = await run("loom", *arguments)
    assert (code, out) == (exit_codes.USAGE, "")
    assert err == "loom: No such command 'cta'. Did you mean 'cat'? See 'loom --help'.\n"


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--server", "--server follows the command: loom COMMAND --server, or set LOOM_SERVER."),
        ("--state", "--state follows the command: loom COMMAND --state."),
        ("--sever", "No such option '--sever'. Did you mean '--version'?"),
    ],
)
async def test_an_option_before_the_command_is_refused_with_its_place(option, sentence):
    code, out, err = await run("loom", option, "x", "ls")
    assert (code, out, err) == (exit_codes.USAGE, "", f"loom: {sentence} See 'loom --help'.\n")


@pytest.mark.parametrize(
    ("shell", "script", "startup"),
    [
        ("bash", ".bash_completions/loom.sh", ".bashrc"),
        ("zsh", ".zfunc/_loom", ".zshrc"),
        ("fish", ".config/fish/completions/loom.fish", None),
    ],
)
async def test_completion_is_shown_and_installed_once(tmp_path: Path, shell, script, startup):
    env = {"HOME": str(tmp_path), "SHELL": f"/usr/bin/{shell}"}
    code, shown, err = await run("loom", "--show-completion", env=env)
    assert (code, err) == (exit_codes.OK, "")
    assert f"_LOOM_COMPLETE={shell}_complete" in shown
    for _ in range(2):
        code, out, _ = await run("loom", "--install-completion", env=env)
        assert (code, str(tmp_path / script) in out) == (exit_codes.OK, True)
    assert (tmp_path / script).read_text() == shown
    if startup:
        assert (tmp_path / startup).read_text().count("\n") == 2


async def test_completion_for_another_shell_is_refused(tmp_path: Path):
    env = {"HOME": str(tmp_path), "SHELL": "/usr/bin/tcsh"}
    code, _, err = await run("loom", "--install-completion", env=env)
    assert (code, err.count("\n")) == (exit_codes.USAGE, 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("loom s", [name for name in MODULES if name[0] == "s"]),
        ("loom help e", ["exit-codes", "environment"]),
        ("loom help sh", ["show", "share"]),
        ("loom ls --state ", list(State)),
        ("loom ls --state live,op", ["live,open"]),
        ("loom ls --outcome s", ["success", "skipped"]),
    ],
)
async def test_bash_completes_commands_topics_and_words(typed, words):
    env = {"_LOOM_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    assert (await run("loom", env=env))[1].split() == [f"plain,{word}" for word in words]
