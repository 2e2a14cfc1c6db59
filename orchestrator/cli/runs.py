"""Commands about a study that was launched."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.console import AsJson, Run, Runs, TakeOver, app, find_run, out, print_json, say
from orchestrator.cli.master import close_with_report


@app.command()
def status(run: Run, as_json: AsJson = False, runs: Runs = Path("runs")) -> None:
    """Say where a study stands."""
    from orchestrator.record import look
    from orchestrator.views import status_facts, status_view, trial_facts

    directory = find_run(run, runs)
    summary = look(directory)
    if as_json:
        trials = [trial_facts(summary, trial) for trial in summary.history.trials]
        print_json({**status_facts(directory, summary), "trials": trials})
    else:
        out.print(status_view(directory, summary))


@app.command()
def watch(run: Run, runs: Runs = Path("runs")) -> None:
    """Show the live table of a study until it ends; Ctrl-C leaves the study alone."""
    from rich.live import Live

    from orchestrator.record import look
    from orchestrator.record.lock import is_resumed
    from orchestrator.views.status import watch_view

    directory = find_run(run, runs)
    try:
        with Live(console=out, auto_refresh=False) as live:
            while True:
                summary = look(directory)
                live.update(watch_view(directory, summary, out.size.height - 13), refresh=True)
                if (ended := summary.history.ended) is not None and (
                    ended.is_done or not is_resumed(directory)
                ):
                    return
                time.sleep(1)
    except KeyboardInterrupt:
        return


@app.command()
def queue(run: Run, as_json: AsJson = False, runs: Runs = Path("runs")) -> None:
    """Show this study's jobs as the scheduler sees them, beside what we know, and where the hours went."""
    from orchestrator import executors
    from orchestrator.config.profile import resources
    from orchestrator.master import control
    from orchestrator.preflight import read_checked_profile
    from orchestrator.record import look
    from orchestrator.views import queue_facts, queue_view
    from orchestrator.views.queue import jobs, without_job

    directory = find_run(run, runs)
    summary = look(directory)
    ids = [a.job for t in summary.history.open_trials if (a := t.attempt) is not None and a.job is not None]
    cluster, _ = read_checked_profile(str(directory.profile))
    prefix = summary.history.token_prefix
    states = executors.create(cluster.scheduler, resources(cluster), prefix).poll(ids) if ids else {}
    rows, masters = jobs(summary, states), control.master_jobs(directory)
    waiting = without_job(summary, cluster, states)
    if as_json:
        print_json(queue_facts(summary, rows, masters, waiting))
    else:
        out.print(queue_view(summary, rows, masters, waiting))


@app.command()
def tree(
    run: Run,
    depth: Annotated[
        int | None, typer.Option(min=0, help="List every node down to this depth.", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="List every node.")] = False,
    as_json: AsJson = False,
    runs: Runs = Path("runs"),
) -> None:
    """Show how a tree search has divided the space, where the incumbent lies, and what is still open.

    Without options: the way down to the incumbent's cell, and the best open leaf of each depth. A value with
    "(bound)" was not measured: the model spared you that evaluation.
    """
    from orchestrator.preflight import read_checked_study
    from orchestrator.record import History
    from orchestrator.record.ledger import read
    from orchestrator.views import tree_view
    from orchestrator.views.search_tree import Partition
    from orchestrator.views.tree import lines

    directory = find_run(run, runs)
    history = History.replay(read(directory.ledger))
    launched_from = Path(history.created.path).parent
    partition = Partition(history, read_checked_study(directory.study, launched_from).space)
    if as_json:
        print_json(partition.facts())
    elif every or depth is not None:
        for line in lines(partition, None if every else depth):
            out.print(line, markup=False, soft_wrap=True)
    else:
        out.print(tree_view(partition))


@app.command()
def cancel(run: Run, take_over: TakeOver = False, runs: Runs = Path("runs")) -> None:
    """Cancel this study's jobs, and nobody else's, and stop its master."""
    from orchestrator.master import control

    nothing = control.cancel(find_run(run, runs), say, take_over=take_over)
    out.print("cancelled" if nothing is None else f"nothing to cancel: {nothing}", markup=False)


@app.command()
def enqueue(
    run: Run,
    values: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", show_default=False)],
    runs: Runs = Path("runs"),
) -> None:
    """Have a configuration of your own tried; what you leave out takes its default."""
    from orchestrator.master import control
    from orchestrator.record.summary import values_text

    directory = find_run(run, runs)
    configuration, spec = control.enqueue(directory, values)
    out.print(
        f"enqueued, after what {spec.algorithm} has planned: {values_text(configuration)}", markup=False
    )
    if not directory.master_is_running():
        out.print(
            f"no master runs: it waits for `orchestrator resume {directory.path}`, or the next `tick`",
            markup=False,
        )


@app.command()
def report(run: Run, as_json: AsJson = False, runs: Runs = Path("runs")) -> None:
    """Write the report (Markdown, CSV, a figure) and print the table of trials."""
    directory = find_run(run, runs)
    path = close_with_report(directory, quiet=as_json)
    if as_json:
        print_json({"report": str(path), "table": str(path.with_name("trials.csv"))})
