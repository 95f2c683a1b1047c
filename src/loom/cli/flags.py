"""The flags of `loom serve`: one for every setting, made of its declaration. Owns only how they look."""

import inspect
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from loom import config
from loom.config import Settings


def signature() -> inspect.Signature:
    """What Typer is to see: `files`, a list of paths, and every setting by its name, None where not given."""
    files = typer.Option(
        *("--config", "-c"), metavar="FILE", help="YAML file, or a directory of them; may be repeated."
    )
    parameters = [_parameter("files", list[Path], files, [])]
    for name, field in Settings.model_fields.items():
        option = typer.Option(
            config.flag(name),
            metavar=_metavar(field.annotation),
            help=f"{field.description} [{config.variable(name)}; default: {_spell(field.default)}]",
        )
        parameters.append(_parameter(name, str | None, option, None))
    return inspect.Signature(parameters)


def _parameter(name: str, kind: Any, option: Any, default: object) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


def _metavar(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return "|".join(get_args(annotation))
    if get_origin(annotation) is list:
        return "A,B,..."
    return "PATH" if annotation is Path else "TEXT" if annotation is str else "NUMBER"


def _spell(default: object) -> str:
    return "none" if default == [] else str(default)
