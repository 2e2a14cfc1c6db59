"""The command line: the only file that knows all others.

What a command needs is imported within it: `status` must answer before torch has loaded.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from orchestrator import __version__
from orchestrator.errors import InputError, OrchestratorError

if TYPE_CHECKING:
    from orchestrator.profile import ClusterProfile
    from orchestrator.run import RunDirectory
    from orchestrator.spec import StudySpec

INTERRUPTED = 130
out = Console(soft_wrap=not sys.stdout.isatty(), highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)


class Commands(TyperGroup):
    """Turns errors that are for the user into lines and exit codes."""

    def invoke(self, ctx: typer.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            for problem in error.problems:
                err.print(problem, markup=False)
            raise typer.Exit(error.exit_code) from None
        except OrchestratorError as error:
            err.print(str(error), markup=False)
            raise typer.Exit(error.exit_code) from None
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
TakeOver = Annotated[bool, typer.Option(help="A master on another host is known to be gone.")]


def main() -> None:
    app(prog_name="orchestrator")


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        out.print(__version__)
        raise typer.Exit


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(help="Where to write study.toml.")] = Path(),
    template: Annotated[str, typer.Option(help="quickstart, llama-lora or command.")] = "quickstart",
) -> None:
    """Write a commented study file to start from."""
    from orchestrator.tomlfile import near

    studies = Path(__file__).resolve().parent.parent / "studies"
    known = {path.stem: path for path in studies.glob("*.toml")}
    if template not in known:
        raise InputError(f"--template: unknown template {template!r}{near(template, known)}")
    target = directory / "study.toml"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as file:
            file.write(known[template].read_text(encoding="utf-8"))
    except FileExistsError:
        raise InputError(f"{target}: exists already: give another directory") from None
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}") from error
    out.print(f"wrote {target}; edit it, then: orchestrator check {target} --profile local", markup=False)


@app.command()
def check(study: Study, profile: Profile, as_json: AsJson = False) -> None:
    """Validate everything; show the first batch, what would be submitted, and what it may cost."""
    from orchestrator import executors
    from orchestrator.check import forecast, resources
    from orchestrator.summary import seconds_text

    spec, place, _ = _read(study, profile)
    _require_prepared(spec, place)
    coming = forecast(spec, place)
    run = place.runs_path / spec.name
    token = f"{spec.name[:24]}-000000-0000"
    attempts = [run / "trials" / f"{n:04d}" / "attempt-1" for n in range(len(coming.batch))]
    script = executors.create(place.scheduler, resources(place)).preview(
        attempts, token, run / "jobs" / token
    )
    if as_json:
        facts = {
            "first_batch": coming.batch,
            "submission": script,
            "rounds": coming.rounds,
            "wall_clock_h_at_most": coming.wall_clock_h,
            "host_hours_at_most": coming.host_hours,
            "gpu_hours_at_most": coming.gpu_hours,
        }
        _print_json(facts)
        return
    out.print(f"[bold]{spec.name}[/]: {study} is valid. First batch, {spec.algorithm}:")
    for number, configuration in enumerate(coming.batch):
        values = "  ".join(f"{name} = {value!r}" for name, value in configuration.items())
        out.print(f"  {number}: {values}", markup=False)
    out.print(f"\n[bold]What would be submitted[/] ({place.scheduler}):")
    out.print(script.rstrip(), markup=False)
    wall = seconds_text(3600 * coming.wall_clock_h)
    out.print(
        f"\n[bold]Estimate[/], if every evaluation took its whole wall-time of {place.walltime_min:g} min: "
        f"{coming.rounds} rounds, {coming.host_hours:.1f} host-hours ({coming.gpu_hours:.1f} GPU-hours), "
        f"{wall} without queueing"
    )


@app.command()
def prepare(study: Study, profile: Profile = "local") -> None:
    """Fetch and verify model, data and tasks into the shared cache: once, on the login node."""
    spec, place, _ = _read(study, profile)
    if spec.evaluation.kind != "litgpt":
        out.print(f"a {spec.evaluation.kind} evaluation needs no preparation")
        return
    from jobs.prepare import prepare as prepare_evaluation

    prepare_evaluation(spec.evaluation, place.cache_path, _say)
    out.print(f"prepared in {place.cache_path}", markup=False)


@app.command()
def launch(study: Study, profile: Profile, detach: Detach = False) -> None:
    """Start a study. Ctrl-C is safe: jobs go on, and `resume` takes them up."""
    from orchestrator.launch import create_run

    spec, place, profile_path = _read(study, profile)
    _require_prepared(spec, place)
    run = create_run(spec, place, profile_path)
    out.print(f"run directory: {run.path}", markup=False)
    _go(run, detach=detach)


@app.command()
def resume(
    run: Run,
    detach: Detach = False,
    take_over: TakeOver = False,
    as_launched: Annotated[
        bool, typer.Option(help="Go on although the study's file says something else by now.")
    ] = False,
    runs: Runs = Path("runs"),
) -> None:
    """Go on with a study whose master ended, whatever ended it."""
    _go(_find(run, runs), detach=detach, take_over=take_over, as_launched=as_launched)


@app.command()
def status(run: Run, as_json: AsJson = False, runs: Runs = Path("runs")) -> None:
    """Say where a study stands."""
    from orchestrator.monitor import facts, look, status_view, trial_facts

    directory = _find(run, runs)
    summary = look(directory)
    if as_json:
        trials = [trial_facts(summary, trial) for trial in summary.history.trials]
        _print_json({**facts(directory, summary), "trials": trials})
    else:
        out.print(status_view(directory, summary))


@app.command()
def watch(run: Run, runs: Runs = Path("runs")) -> None:
    """Show the live table of a study until it ends; Ctrl-C leaves the study alone."""
    from rich.live import Live

    from orchestrator.monitor import look, watch_view

    directory = _find(run, runs)
    try:
        with Live(console=out, auto_refresh=False) as live:
            while True:
                summary = look(directory)
                live.update(watch_view(directory, summary, out.size.height - 12), refresh=True)
                if summary.history.ended is not None:
                    return
                time.sleep(1)
    except KeyboardInterrupt:
        return


@app.command()
def queue(run: Run, as_json: AsJson = False, runs: Runs = Path("runs")) -> None:
    """Show this study's jobs as the scheduler sees them, beside what we know."""
    from orchestrator import executors
    from orchestrator.check import resources
    from orchestrator.monitor import jobs, jobs_view, look
    from orchestrator.profile import read_profile

    directory = _find(run, runs)
    summary = look(directory)
    ids = [a.job for t in summary.history.open_trials if (a := t.attempt) is not None and a.job is not None]
    place, _ = read_profile(str(directory.profile))
    states = executors.create(place.scheduler, resources(place)).poll(ids) if ids else {}
    rows = jobs(summary, states)
    if as_json:
        _print_json(rows)
    elif rows:
        out.print(jobs_view(rows))
    else:
        out.print("no jobs under way")


@app.command()
def cancel(run: Run, take_over: TakeOver = False, runs: Runs = Path("runs")) -> None:
    """Cancel this study's jobs, and nobody else's, and stop its master."""
    from orchestrator.errors import StudyStopped
    from orchestrator.files import publish
    from orchestrator.launch import drive
    from orchestrator.monitor import look

    directory = _find(run, runs)
    if (ended := look(directory).history.ended) is not None:
        out.print(f"nothing to cancel: {ended['message']}", markup=False)
        return
    publish(directory.cancel_request, "")
    for _ in range(120):
        if not directory.master_is_running():
            break
        time.sleep(0.5)
    if directory.cancel_request.exists():
        try:
            drive(directory, _say, take_over=take_over, as_launched=True)
        except StudyStopped as stopped:
            _say(str(stopped))
    out.print("cancelled")


@app.command()
def report(run: Run, as_json: AsJson = False, runs: Runs = Path("runs")) -> None:
    """Write the report (Markdown, CSV, a figure) and print the table of trials."""
    directory = _find(run, runs)
    path = _report(directory, quiet=as_json)
    if as_json:
        _print_json({"report": str(path), "table": str(path.with_name("trials.csv"))})


@app.command()
def profiles(as_json: AsJson = False) -> None:
    """List the cluster profiles there are."""
    from orchestrator.profile import profiles as known
    from orchestrator.tomlfile import TomlFile

    found = {
        name: (str(TomlFile.read(path).content.get("description", "")), str(path)) for name, path in known()
    }
    if as_json:
        _print_json({name: {"description": text, "path": path} for name, (text, path) in found.items()})
        return
    _two_columns({name: text for name, (text, _) in found.items()})


@app.command()
def algorithms(as_json: AsJson = False) -> None:
    """List the search algorithms there are."""
    from orchestrator.algorithms import ALGORITHMS

    found = {entry.name: entry.description for entry in ALGORITHMS.values()}
    if as_json:
        _print_json(found)
    else:
        _two_columns(found)


def _read(study: Path, profile: str) -> tuple[StudySpec, ClusterProfile, Path]:
    """Both files, with the problems of both in one report."""
    from orchestrator.check import read_checked_study
    from orchestrator.profile import read_profile

    problems: list[str] = []
    spec = place = None
    try:
        spec = read_checked_study(study)
    except InputError as error:
        problems += error.problems
    try:
        place = read_profile(profile)
    except InputError as error:
        problems += error.problems
    if spec is None or place is None:
        raise InputError(problems)
    return spec, *place


def _require_prepared(spec: StudySpec, place: ClusterProfile) -> None:
    if spec.evaluation.kind == "litgpt":
        from jobs.prepare import require_prepared

        require_prepared(spec.evaluation, place.cache_path)


def _find(run: str, runs: Path) -> RunDirectory:
    from orchestrator.run import RunDirectory

    return RunDirectory.find(run, runs)


def _go(run: RunDirectory, *, detach: bool, take_over: bool = False, as_launched: bool = False) -> None:
    """Run the master here or in the background, and close with the report."""
    if detach:
        _detach(run, take_over=take_over, as_launched=as_launched)
        return
    from orchestrator.launch import drive

    try:
        why = drive(run, _say, take_over=take_over, as_launched=as_launched)
    except KeyboardInterrupt:
        err.print(
            f"interrupted; jobs go on, nothing is lost. Go on with: orchestrator resume {run.path}",
            markup=False,
        )
        raise typer.Exit(INTERRUPTED) from None
    _say(why)
    _report(run, quiet=False)


def _detach(run: RunDirectory, *, take_over: bool, as_launched: bool) -> None:
    """Start `resume` in a session of its own, and see that it holds the run before we leave."""
    options = ["--take-over"] * take_over + ["--as-launched"] * as_launched
    with run.log.open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "resume", str(run.path), *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    while (code := child.poll()) is None:
        master = run.master()
        if master is not None and master.pid == child.pid:
            out.print(f"master runs detached (pid {child.pid}); log: {run.log}", markup=False)
            out.print(f"follow it with: orchestrator watch {run.path}", markup=False)
            return
        time.sleep(0.1)
    err.print(run.log.read_text(encoding="utf-8").strip().splitlines()[-1:], markup=False)
    raise typer.Exit(code)


def _report(run: RunDirectory, *, quiet: bool) -> Path:
    from orchestrator.monitor import look, status_view, trials_view
    from orchestrator.report import write_report

    summary = look(run)
    path = write_report(run, summary)
    if not quiet:
        out.print(trials_view(run, summary))
        out.print()
        out.print(status_view(run, summary))
        out.print(f"report: {path}", markup=False)
    return path


def _say(line: str) -> None:
    out.print(f"{datetime.now().astimezone():%H:%M:%S} {line}", markup=False)


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, allow_nan=False, indent=2) + "\n")


def _two_columns(rows: dict[str, str]) -> None:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for name, text in rows.items():
        table.add_row(f"[bold]{name}[/]", text)
    out.print(table)
