"""`profiles`: those there are, what one says, and writing one for the cluster at hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from orchestrator.cli.console import AsJson, app, out, print_json

if TYPE_CHECKING:
    from orchestrator.config import ClusterProfile

profiles = typer.Typer(
    invoke_without_command=True,
    help="List the cluster profiles there are; `show` one, or write a `new` one for this cluster.",
)
app.add_typer(profiles, name="profiles")

Name = Annotated[str, typer.Argument(help="A profile's name or path.", show_default=False)]


@profiles.callback()
def listing(context: typer.Context, as_json: AsJson = False) -> None:
    """List the cluster profiles there are; `show` one, or write a `new` one for this cluster."""
    if context.invoked_subcommand is not None:
        return
    from orchestrator.config.profile import profiles as known
    from orchestrator.errors import InputError
    from orchestrator.preflight import read_checked_profile

    rows: dict[str, dict[str, Any]] = {}
    for name, path in known():
        row: dict[str, Any] = {"path": str(path), "description": "", "scheduler": None, "problems": []}
        try:
            profile, _ = read_checked_profile(str(path))
            row |= {"description": profile.description, "scheduler": profile.scheduler}
        except InputError as error:
            row["problems"] = list(error.problems)
        rows[name] = row
    if as_json:
        print_json(rows)
        return
    table = Table.grid(padding=(0, 2))
    for name, row in rows.items():
        text = escape(row["description"])
        if problems := row["problems"]:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            elsewhere = len(problems) == 1 and "is not set" in problems[0]  # a variable of that site
            label = "[dim]not for this machine:[/]" if elsewhere else "[red]broken:[/]"
            text = f"{label} {escape(problems[0])}{more}"
        table.add_row(f"[bold]{escape(name)}[/]", row["scheduler"] or "", text)
    out.print(table)


@profiles.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Show a profile's file, and what it amounts to: defaults filled in, and what follows on each failure."""
    from orchestrator.preflight import read_checked_profile

    profile, path = read_checked_profile(name)
    if as_json:
        facts = profile.model_dump(mode="json", exclude={"on_failure"})
        print_json({"path": str(path), **facts, "rules": _rules(profile)})
        return
    out.print(f"[bold]{escape(str(path))}[/]\n", soft_wrap=True)
    out.print(path.read_text(encoding="utf-8").rstrip(), markup=False, soft_wrap=True)
    out.print("\n[bold]What that amounts to[/] (dim: not in the file, a default)")
    table = Table.grid(padding=(0, 2))
    shown = {key: value for key, value in profile.model_dump().items() if key != "on_failure"}
    for key, value in {**shown, "shared_dir": str(profile.shared_path)}.items():
        style = "" if key in profile.model_fields_set else "dim"
        if isinstance(value, dict):
            for inner, one in value.items():
                given = getattr(getattr(profile, key), "model_fields_set", value)
                table.add_row(
                    f"  {key}.{inner}", escape(_text(one)), style=style if inner in given else "dim"
                )
        else:
            table.add_row(f"  {key}", escape(_text(value)), style=style)
    out.print(table)
    out.print("\n[bold]What follows on a failure[/]")
    table = Table.grid(padding=(0, 2))
    for failure, meaning in _rules(profile).items():
        table.add_row(f"  {failure}", meaning, style="" if failure in profile.on_failure else "dim")
    out.print(table)


@profiles.command()
def new(
    name: Annotated[str, typer.Argument(help="Its name.")] = "mine",
    partition: Annotated[
        str | None, typer.Option(help="SLURM: the partition to use.", show_default=False)
    ] = None,
    cluster: Annotated[str | None, typer.Option(help="OAR: the cluster to use.", show_default=False)] = None,
    shared_dir: Annotated[
        Path | None, typer.Option(help="A directory that the hosts see too.", show_default=False)
    ] = None,
) -> None:
    """Look at this cluster and write a profile of your own for it; each value says where it comes from."""
    from orchestrator.site.new_profile import write

    path, remarks = write(name, partition=partition, cluster=cluster, shared_dir=shared_dir)
    out.print(f"wrote {path}", markup=False, soft_wrap=True)
    for remark in remarks:
        out.print(f"  {remark}", markup=False, soft_wrap=True)
    out.print(f"look it over, then: orchestrator doctor --profile {name}", markup=False, soft_wrap=True)


def _text(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:g}"
        case tuple() | list():
            return ", ".join(map(str, value)) or "none"
        case {}:
            return "none"
        case _:
            return str(value)


def _rules(profile: ClusterProfile) -> dict[str, str]:
    """Failure class -> what follows on it, for people."""
    from orchestrator.config.profile import Rule
    from orchestrator.contract import Failure

    longest = profile.walltime_max_min
    meanings = {
        Rule.RETRY: f"retry: another attempt, on other hosts; {profile.attempts} in all",
        Rule.RESUBMIT: "resubmit: another attempt, which does not count",
        Rule.LONGER: f"longer: another attempt of {longest:g} min"
        if longest
        else "fail: the trial has no score (`walltime_max_min` would give it another, longer attempt)",
        Rule.FAIL: "fail: the trial has no score",
    }
    return {str(failure): meanings[profile.rule(failure)] for failure in Failure}
