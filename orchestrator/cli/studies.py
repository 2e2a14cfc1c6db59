"""Commands about a study that is not running yet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.console import (
    AsJob,
    AsJson,
    Detach,
    Profile,
    Study,
    app,
    out,
    print_json,
    say,
    tell,
    two_columns,
)
from orchestrator.cli.master import go, go_as_job, look_once, only_one_of
from orchestrator.errors import InputError


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(help="Where to write study.toml.")] = Path(),
    template: Annotated[str, typer.Option(help="quickstart, llama-lora or command.")] = "quickstart",
) -> None:
    """Write a commented study file to start from."""
    from orchestrator.errors import near

    studies = Path(__file__).resolve().parents[2] / "studies"
    known = {path.stem: path for path in studies.glob("*.toml")}
    if template not in known:
        raise InputError(f"--template: unknown template {template!r}{near(template, known)}")
    files = {directory / "study.toml": known[template]}
    if template == "command":
        files[directory / "train.py"] = studies / "train.py"  # a program that runs as it is
    for target in files:
        if target.exists():
            raise InputError(f"{target}: exists already: give another directory")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for target, source in files.items():
            with target.open("x", encoding="utf-8") as file:
                file.write(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{error.filename or directory}: cannot be written: {error.strerror}") from error
    study = directory / "study.toml"
    out.print(
        f"wrote {' and '.join(map(str, files))}; edit it, then: orchestrator check {study} --profile local",
        markup=False,
    )


@app.command()
def check(study: Study, profile: Profile, as_json: AsJson = False) -> None:
    """Validate everything; show the first batch, what would be submitted, and what it may cost."""
    from orchestrator.preflight import forecast, prepared_inputs, read_both
    from orchestrator.preflight.promotion import with_promoted
    from orchestrator.preflight.studies import doubts, preview
    from orchestrator.record.summary import number_text, seconds_text

    spec, cluster, _ = read_both(study, profile)
    prepared_inputs(spec, cluster.cache_path)
    spec, lines = with_promoted(spec, cluster.cache_path)
    coming = forecast(spec, cluster)
    script = preview(spec, cluster, len(coming.batch) + spec.include_base)
    if as_json:
        facts = {
            "first_batch": coming.batch,
            "submission": script,
            "waves": coming.waves,
            "wall_clock_h_at_most": coming.wall_clock_h,
            "host_hours_at_most": coming.host_hours,
            "gpu_hours_at_most": coming.gpu_hours,
        }
        print_json(facts)
        return
    out.print(f"[bold]{spec.name}[/]: {study} is valid. First batch, {spec.algorithm}:")
    for line in (*lines, *doubts(spec)):
        out.print(f"  {line}", markup=False)
    if spec.include_base:
        out.print("  the base model, untouched")
    for number, configuration in enumerate(coming.batch, start=int(spec.include_base)):
        values = "  ".join(f"{name} = {number_text(value)}" for name, value in configuration.items())
        out.print(f"  {number}: {values}", markup=False)
    out.print(f"\n[bold]What would be submitted[/] ({cluster.scheduler}):")
    out.print(script.rstrip(), markup=False)
    wall = seconds_text(3600 * coming.wall_clock_h)
    out.print(
        f"\n[bold]Estimate[/], if every evaluation took its whole wall-time of {cluster.walltime_min:g} min: "
        f"{coming.waves} waves of jobs, {coming.host_hours:.1f} host-hours ({coming.gpu_hours:.1f} "
        f"GPU-hours), {wall} without queueing"
    )


@app.command()
def prepare(study: Study, profile: Profile = "local") -> None:
    """Fetch and verify model, data and tasks into the shared cache: once, on the login node."""
    from orchestrator.preflight import prepared_inputs, read_both

    spec, cluster, _ = read_both(study, profile)
    if spec.evaluation.kind != "litgpt":
        out.print(f"a {spec.evaluation.kind} evaluation needs no preparation")
        return
    from jobs.prepare.prepare import prepare as prepare_evaluation

    prepare_evaluation(spec.evaluation, cluster.cache_path, say)
    prepared_inputs(spec, cluster.cache_path)  # what only model and tasks tell: ranks, metrics
    out.print(f"prepared in {cluster.cache_path}", markup=False)


@app.command()
def launch(
    study: Study,
    profile: Profile,
    *,
    detach: Detach = False,
    as_job: AsJob = False,
    tick: Annotated[
        bool, typer.Option("--tick", help="Do what can be done now; cron does the rest.")
    ] = False,
) -> None:
    """Start a study. Ctrl-C is safe: jobs go on, and `resume` takes them up."""
    from orchestrator.master import control
    from orchestrator.master import launch as launched_study
    from orchestrator.master.chain import section
    from orchestrator.preflight import prepared_inputs, read_both
    from orchestrator.preflight.promotion import with_promoted
    from orchestrator.preflight.studies import doubts

    only_one_of(detach=detach, as_job=as_job, tick=tick)
    spec, cluster, profile_path = read_both(study, profile)
    if as_job:
        section(cluster, str(profile_path))  # before there is a run
    inputs = prepared_inputs(spec, cluster.cache_path)
    spec, lines = with_promoted(spec, cluster.cache_path)
    launched = launched_study(spec, cluster, profile_path, inputs)
    run = launched.run
    for line in (*lines, *doubts(spec), f"run directory: {run.path}", *launched.lines):
        tell(line)
    if as_job:
        go_as_job(run)
    elif tick:
        look_once(run, verbose=True, launched=launched)
        tell("go on from cron, in one line of `crontab -e`:")
        tell(control.crontab_line(run))
    else:
        go(run, detach=detach, launched=launched)


@app.command()
def algorithms(as_json: AsJson = False) -> None:
    """List the search algorithms there are, with their options and defaults."""
    from orchestrator.algorithms import ALGORITHMS

    if as_json:
        print_json(
            {e.name: {"description": e.description, "options": e.defaults} for e in ALGORITHMS.values()}
        )
    else:
        two_columns({e.name: f"{e.description}{_options(e.defaults)}" for e in ALGORITHMS.values()})


def _options(defaults: Mapping[str, object]) -> str:
    """A line of options as a study file gives them; "auto" where the algorithm decides."""
    texts = [f"{name} = {'auto' if value is None else json.dumps(value)}" for name, value in defaults.items()]
    return "\n" + ", ".join(texts) if texts else ""
