"""The `[evaluation]` section of a study: what one evaluation runs.

Read by the master to validate a study file, and by the job to know what to do.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from orchestrator.contract.strict import Many, Section

DEMO = "demo"  # in place of a model, a data file or a task's file
MODULE = "litgpt:"  # before the name of a data module of LitGPT
Projection = Literal["query", "key", "value", "projection", "mlp", "head"]


class Hyperparameters(Section):
    """What a configuration of a `litgpt` evaluation may hold, under these names and no others.

    A space gives at least the three without a default. The last four, where absent, are the evaluation's own.
    """

    lora_rank: Annotated[int, Field(ge=1)]
    lora_alpha: Annotated[float, Field(gt=0)]  # the adapter's weight is lora_alpha / lora_rank
    learning_rate: Annotated[float, Field(ge=0)]  # the peak, after warm-up
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    batch_size: Annotated[int, Field(ge=1)] | None = None
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] | None = None
    epochs: Annotated[float, Field(gt=0)] | None = None
    steps: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _one_length(self) -> Hyperparameters:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("give either `epochs` or `steps`")
        return self


HYPERPARAMETERS = tuple(Hyperparameters.model_fields)
REQUIRED_HYPERPARAMETERS = tuple(
    name for name, field in Hyperparameters.model_fields.items() if field.is_required()
)


class LocalTask(Section):
    """A multiple-choice task in a JSONL file of the user's own: one object a line."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    file: str
    query: str = "query"  # key of the context
    choices: str = "choices"  # key of the list of continuations
    label: str = "label"  # key of the index of the right one
    separator: str = " "  # between context and continuation
    limit: Annotated[int, Field(ge=1)] | None = None


class StockTask(Section):
    """A task that lm-eval ships, by its name there."""

    name: str
    num_fewshot: Annotated[int, Field(ge=0)] | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    execute_code: bool = False  # run, in a sandbox, the programs that the model writes: HumanEval, MBPP


class TaskFile(Section):
    """A task of the user's own in lm-eval's YAML, whose `dataset_kwargs.data_files` are files beside it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]  # as `task` in the file
    yaml: str
    num_fewshot: Annotated[int, Field(ge=0)] | None = None
    limit: Annotated[int, Field(ge=1)] | None = None


def _kind_of_task(task: object) -> str:
    """A task names its kind by the key that only this kind has."""
    if isinstance(task, LocalTask | TaskFile | StockTask):
        return type(task).__name__
    keys = task if isinstance(task, dict) else ()
    return (
        LocalTask.__name__ if "file" in keys else TaskFile.__name__ if "yaml" in keys else StockTask.__name__
    )


Task = Annotated[
    Annotated[LocalTask, Tag(LocalTask.__name__)]
    | Annotated[TaskFile, Tag(TaskFile.__name__)]
    | Annotated[StockTask, Tag(StockTask.__name__)],
    Discriminator(_kind_of_task),
]


class DataSource(Section):
    """A part of a mixture of instructions."""

    source: Annotated[str, Field(min_length=1)]
    weight: Annotated[float, Field(gt=0)] = (
        1.0  # its share of the training samples, beside the others' weights
    )


class LitGPTEvaluation(Section):
    """LoRA fine-tuning of a LitGPT model, then lm-eval on it, in one process."""

    kind: Literal["litgpt"]
    # A LitGPT checkpoint directory, a Hugging Face id ("org/name"), or "demo".
    model: Annotated[str, Field(min_length=1)]
    # Instructions: a JSON, JSONL or Parquet file in Alpaca or Dolly layout, "litgpt:Alpaca" or another data
    # module of LitGPT, "demo"; or a mixture of such sources. Nothing of a mixture is repeated: it is as large
    # as the source that runs out first allows.
    data: Annotated[str, Field(min_length=1)] | Annotated[Many[DataSource], Field(min_length=1)]
    val_data: str | None = None  # held-out instructions; without it `val_fraction` of `data`
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.05
    val_documents: Annotated[int, Field(ge=1)] | None = None  # at most so many of them
    prompt_style: str = "alpaca"
    mask_prompt: bool = False  # True: only the response counts in the losses
    lora_layers: Many[Projection] = ("query", "value")
    epochs: Annotated[float, Field(gt=0)] | None = None
    steps: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1)] = 16
    micro_batch_size: Annotated[int, Field(ge=1)] | None = None  # samples at once; None: as many as fit
    max_length: Annotated[int, Field(ge=2)] = 512
    precision: Literal["fp32", "bf16"] = "bf16"
    sharded: bool | None = None  # base weights in parts over a trial's GPUs; None: if one cannot hold them
    quantize: Literal["nf4"] | None = None  # QLoRA: the base's blocks in 4 bits; on CUDA, one GPU holds it
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    schedule: Literal["cosine", "constant"] = "cosine"
    # "fixed": every epoch in the one order in which `fidelity` takes the samples, and whole batches only.
    order: Literal["shuffled", "fixed"] = "shuffled"
    tasks: Many[Task] = ()
    fidelity: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of the training data (nested) and of `steps`
    score_fidelity: Annotated[float, Field(gt=0, le=1)] = 1.0  # of tasks' and held-out documents (nested)

    @model_validator(mode="after")
    def _one_length(self) -> LitGPTEvaluation:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either `epochs` or `steps`")
        if self.quantize and self.sharded:
            raise ValueError("give either `quantize` or `sharded`")
        return self

    @property
    def executes_code(self) -> bool:
        """True if a task runs programs that the model has written."""
        return any(isinstance(task, StockTask) and task.execute_code for task in self.tasks)

    @property
    def sources(self) -> tuple[DataSource, ...]:
        """The parts of the mixture; of data that is none, the one part."""
        return (DataSource(source=self.data),) if isinstance(self.data, str) else self.data

    @model_validator(mode="after")
    def _sources_differ(self) -> LitGPTEvaluation:
        names = [one.source for one in self.sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"data: {', '.join(twice)} stands there twice: give it once, with its whole weight"
            )
        if DEMO in names and len(names) > 1:
            raise ValueError('data: "demo" is no part of a mixture')
        return self

    @model_validator(mode="after")
    def _tasks_differ(self) -> LitGPTEvaluation:
        names = [task.name for task in self.tasks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"tasks: {', '.join(twice)} stands there twice: metrics are named by the task")
        return self

    def gives(self, metric: str) -> bool:
        """False if no evaluation can hold `metric`: a study that asks for it is mistaken."""
        task, slash, measure = metric.partition("/")
        if not slash:
            return metric in ("val_loss", "train_loss", "train_seconds")
        if any(isinstance(one, StockTask) for one in self.tasks):  # it may be a group of tasks of other names
            return bool(task and measure)
        own = {one.name: measure for one in self.tasks if isinstance(one, TaskFile)}  # prepare knows which
        known = {one.name: ("acc", "acc_norm") for one in self.tasks if isinstance(one, LocalTask)}
        return bool(measure) and measure in {**known, **own}.get(task, ())


class CommandEvaluation(Section):
    """Any program, run as `command… CONFIGURATION.json OUTPUT.json` in the attempt's directory.

    It writes a JSON object of metrics to the output path: a number each, or {"value", "stderr", "n"}. It is
    judged by the study's objective; another metric that is no number is left out.
    The trial's number and seed are in the environment as ORCHESTRATOR_TRIAL and ORCHESTRATOR_SEED, and as
    ORCHESTRATOR_CHECKPOINT a directory that all attempts at the trial share.
    """

    kind: Literal["command"]
    command: Annotated[Many[str], Field(min_length=1)]
    # "gpu": one process per GPU on every host, with RANK, WORLD_SIZE, … as torchrun sets them; rank 0 writes.
    processes: Literal["one", "gpu"] = "one"
    grace_s: Annotated[float, Field(ge=0)] = 4.0  # from SIGTERM to SIGKILL: to save itself


class SyntheticEvaluation(Section):
    """A function with a known optimum, to try a search or a cluster without a model."""

    kind: Literal["synthetic"]
    function: str
    noise: Annotated[float, Field(ge=0)] = 0.0  # standard deviation added to each value
    seconds: Annotated[float, Field(ge=0)] = 0.0  # how long an evaluation takes


AnyEvaluation = Annotated[
    LitGPTEvaluation | CommandEvaluation | SyntheticEvaluation, Field(discriminator="kind")
]
