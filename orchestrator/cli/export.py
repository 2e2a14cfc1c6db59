"""`export`: what a study trained, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestrator.cli.console import Run, Runs, app, find_run, out


@app.command()
def export(
    run: Run,
    form: Annotated[
        Literal["litgpt", "hf", "peft"],
        typer.Option(
            "--format",
            help="litgpt: a LitGPT checkpoint, merged. hf: a Hugging Face checkpoint, merged. "
            "peft: the adapter alone.",
            show_default=False,
        ),
    ],
    adapter: Annotated[
        str, typer.Option(metavar="best|N", help="Of the best trial so far, or of trial N.")
    ] = "best",
    to: Annotated[
        Path | None,
        typer.Option(
            "--out", help="A directory that does not exist yet; else exports/N-FORMAT in the run's."
        ),
    ] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Write a trained adapter for other programs: merged into its base model, or alone.

    Merged weights are those that were scored, in the study's precision. The adapter is checked against the
    digest in its trial's result first; orchestrator.json says what it is. Runs on the CPU, and needs the
    memory that the model needs. Adapters are kept of the best trials only: keep_adapters in the study.
    """
    from jobs.export.adapter import Adapter
    from jobs.export.export import export as write
    from jobs.inputs import require_prepared
    from orchestrator.errors import InputError
    from orchestrator.master.launch import launched_study
    from orchestrator.record import look
    from orchestrator.record.summary import value_text
    from orchestrator.views.adapter import choose, facts, litgpt

    directory = find_run(run, runs)
    summary = look(directory)
    history = summary.history
    spec = launched_study(directory, history, check_original=False)
    evaluation = litgpt(spec, directory)
    chosen = choose(adapter, directory, spec, history)
    prepared = require_prepared(evaluation, directory.cache, sources=False)
    if prepared.digest != history.created.inputs:
        raise InputError(
            f"{directory.path}: the model was prepared anew since launch: {prepared.model} may not be what "
            "the adapter was trained on"
        )
    model, number = Path(prepared.model), chosen.trial.number
    target = directory.export(number, form) if to is None else to.expanduser().absolute()
    what = Adapter(chosen.file, chosen.digest, model, evaluation, chosen.trial.configuration)
    told = facts(chosen, spec, directory, history, model) | {"format": form}
    write(what, form, target, told, directory.cache)
    score = f"{summary.metric} {value_text(summary.objective(chosen.trial))}"
    out.print(f"trial {number}, {score}, as {form}: {target}", markup=False)
    if form == "peft":
        out.print(f"load it with peft on the Hugging Face model of {evaluation.model}", markup=False)
