"""`doctor`: whether studies will run under a profile."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from orchestrator.cli import INTERRUPTED
from orchestrator.cli.console import AsJson, Profile, app, err, out, print_json

if TYPE_CHECKING:
    from orchestrator.config import ClusterProfile
    from orchestrator.doctor.finding import Finding

_MARKS = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "wrong": "[red]✗[/]"}
_COLOURS = {"ok": "", "warning": "yellow", "wrong": "red"}


@app.command()
def doctor(
    profile: Profile,
    study: Annotated[
        Path | None, typer.Option(help="Also: is this study valid and prepared?", show_default=False)
    ] = None,
    submit: Annotated[
        bool, typer.Option("--submit", help="Also look at a host, by a job of minutes.")
    ] = False,
    wait: Annotated[float, typer.Option(min=0, help="Minutes that the job may wait in the queue.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Look whether studies will run under a profile, and say what to do if not; exit code 1 if they will not.

    Without --submit nothing is submitted. With it one job looks at a host: whether it sees the same files,
    and how late; its Python, GPUs, clock and space. Ctrl-C cancels that job.
    """
    from orchestrator.doctor import examine
    from orchestrator.preflight import read_checked_profile

    cluster, path = read_checked_profile(profile)
    if not as_json:
        out.print(
            f"[bold]{escape(profile)}[/]: {escape(str(path))} is valid ({cluster.scheduler})", soft_wrap=True
        )
    found: list[Finding] = []
    for finding in examine(cluster, study, proved=submit):
        _show(finding, found, as_json=as_json)
    if submit:
        for finding in _probed(cluster, study, wait, quiet=as_json):
            _show(finding, found, as_json=as_json)
    wrong, warnings = (sum(f.mark == mark for f in found) for mark in ("wrong", "warning"))
    if as_json:
        print_json({"profile": str(path), "wrong": wrong, "findings": [dataclasses.asdict(f) for f in found]})
    else:
        _close(wrong, warnings, submitted=submit)
    if wrong:
        raise typer.Exit(1)


def _probed(
    cluster: ClusterProfile, study: Path | None, wait_min: float, *, quiet: bool
) -> Iterator[Finding]:
    from orchestrator.doctor import try_host

    try:
        if quiet or not out.is_terminal:
            yield from try_host(cluster, study, wait_min, lambda _: None)
            return
        with out.status("submitting a probe job") as status:
            yield from try_host(
                cluster, study, wait_min, lambda text: status.update(f"{escape(text)}; Ctrl-C cancels it")
            )
    except KeyboardInterrupt:
        err.print("interrupted; the probe job is cancelled", markup=False)
        raise typer.Exit(INTERRUPTED) from None


def _show(finding: Finding, found: list[Finding], *, as_json: bool) -> None:
    """Print a finding below those of its group."""
    new_group = not found or found[-1].group != finding.group
    found.append(finding)
    if as_json:
        return
    if new_group:
        out.print(f"\n[bold]{finding.group}[/]")
    colour, says = _COLOURS[finding.mark], escape(finding.says)
    lines = [says if not colour else f"[{colour}]{says}[/]"]
    lines += [f"[bold]→[/] {escape(finding.remedy)}"] * bool(finding.remedy)
    if not out.is_terminal:  # a line each, however long
        out.print(f"  {_MARKS[finding.mark]} {escape(finding.what):<13} {lines[0]}")
        for line in lines[1:]:
            out.print(f"  {'':<15} {line}")
        return
    table = Table.grid(padding=(0, 1))
    table.add_column(width=3, justify="right")
    table.add_column(width=13)
    table.add_column()
    for number, line in enumerate(lines):
        table.add_row(*((_MARKS[finding.mark], escape(finding.what)) if number == 0 else ("", "")), line)
    out.print(table)


def _close(wrong: int, warnings: int, *, submitted: bool) -> None:
    count = f"{warnings} warning{'s' * (warnings != 1)}"
    if wrong:
        out.print(f"\n[red]{wrong} wrong[/], {count}: studies will not run before that is mended")
    else:
        more = "" if submitted else "; `--submit` looks at a host too"
        out.print(f"\n[green]nothing wrong[/], {count}{more}")
