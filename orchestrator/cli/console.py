"""What every command shares: the program, its consoles, its options, and errors turned into exit codes."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.table import Table
from typer.core import TyperGroup

from orchestrator import __version__
from orchestrator.cli import INTERRUPTED
from orchestrator.errors import InputError, OrchestratorError

if TYPE_CHECKING:
    from orchestrator.record import RunDirectory


class Output(Console):
    """A console that leaves it to the command what follows when the reader of a pipe has gone."""

    def on_broken_pipe(self) -> None:
        """Raise the error: rich would end the process, and with it a master."""
        raise BrokenPipeError


out = Output(soft_wrap=not sys.stdout.isatty(), highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)


class Commands(TyperGroup):
    """Turns errors that are for the user into lines and exit codes."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order in which a user meets them."""
        first = ["init", "check", "prepare", "launch"]
        last = ["profiles", "algorithms"]
        rest = [name for name in super().list_commands(ctx) if name not in first + last]
        return [*first, *rest, *last]

    def invoke(self, ctx: Any) -> Any:
        """Run the command; what is for the user to mend is printed, and gives the exit code."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            for problem in error.problems:
                err.print(problem, markup=False)
            raise typer.Exit(error.exit_code) from None
        except OrchestratorError as error:
            err.print(str(error), markup=False)
            raise typer.Exit(error.exit_code) from None
        except BrokenPipeError:  # the reader of a pipe has seen enough
            mute()
            raise typer.Exit(1) from None
        except OSError as error:  # a run of somebody else's, a filesystem that is away
            err.print(f"{error.filename or 'a file'}: {error.strerror or error}", markup=False)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="""Search LoRA hyperparameters on a cluster, from its login node.

    [bold]First study:[/] init → edit study.toml → check → prepare → launch → watch → report.

    Nothing is lost when this program, the login node or a job dies: [bold]resume[/] goes on.
    Exit codes: 0 done, 1 failed, 2 wrong input, 130 interrupted and resumable.""",
)

Study = Annotated[Path, typer.Argument(help="The study file (TOML).", show_default=False)]
Run = Annotated[str, typer.Argument(help="The run's directory, or its study's name.", show_default=False)]
Profile = Annotated[
    str, typer.Option("--profile", "-p", help="A cluster profile: a name or a path.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Runs = Annotated[Path, typer.Option(help="Where to look a run up by its name.")]
Detach = Annotated[
    bool, typer.Option("--detach", help="Go on after this shell ends; log in the run directory.")
]
AsJob = Annotated[
    bool, typer.Option("--as-job", help="Run the master as jobs of one core, each followed by the next.")
]
TakeOver = Annotated[bool, typer.Option(help="A master on another host is known to be gone.")]


def find_run(name: str, runs: Path) -> RunDirectory:
    """Return the run of that path, or else of that study's name below `runs`.

    Raises:
        InputError: there is none.
    """
    from orchestrator.record import RunDirectory  # `--help` does without it

    return RunDirectory.find(name, runs)


def tell(text: RenderableType) -> None:
    """Print what is told on the way; if nobody can be told any more, a study goes on all the same."""
    try:
        # A plain line may hold brackets of its own; a table has been escaped.
        out.print(text, markup=not isinstance(text, str))
        out.file.flush()
    except OSError:  # a pipe whose reader has gone, a log on a full disk
        mute()


def say(line: str) -> None:
    """`tell` a line with the time of day."""
    tell(f"{datetime.now().astimezone():%H:%M:%S} {line}")


def mute() -> None:
    """Write to nobody from now on."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def print_json(value: object) -> None:
    """Print a value as JSON."""
    sys.stdout.write(json.dumps(value, allow_nan=False, indent=2) + "\n")


def two_columns(rows: dict[str, str]) -> None:
    """Print names, each with a text beside it."""
    table = Table.grid(padding=(0, 2))
    for name, text in rows.items():
        table.add_row(f"[bold]{name}[/]", text)
    out.print(table)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        out.print(__version__)
        raise typer.Exit
