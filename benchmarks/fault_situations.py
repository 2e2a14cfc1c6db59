"""The situations that a study on SLURM is put in, by where they can be played at the same time.

Hosts n1 and n2 are for what disturbs nobody; n3 and n4 are taken away, one situation after the other.
"""

from __future__ import annotations

import time
from functools import partial

from benchmarks.fault_study import QUIET, Case, Situation

LATER = "begin = 'now+1hour'"


def on(host: str, partition: str = "main") -> tuple[str, ...]:
    return f"nodelist = '{host}'", f"partition = '{partition}'"


def scancel(case: Case, trial: int = 0, *, running: bool = False) -> None:
    if running:
        case.started()
    case.seen(case.job(trial))
    case.cluster.run("scancel", case.job(trial))


def scancel_element(case: Case) -> None:
    """Of three that wait, the second; then the others may start."""
    scancel(case, 1)
    time.sleep(1)
    for trial in (0, 2):
        case.cluster.run("scontrol", "update", f"JobId={case.job(trial)}", "StartTime=now")


def suspend(case: Case) -> None:
    case.started()
    case.cluster.run("scontrol", "suspend", case.job())
    time.sleep(5)
    case.cluster.run("scontrol", "resume", case.job())


def requeue(case: Case) -> None:
    case.started()
    case.cluster.run("scontrol", "requeue", case.job())


def requeue_hold(case: Case) -> None:
    case.started()
    case.cluster.run("scontrol", "requeuehold", case.job())
    case.told("scontrol release", case.job(), "job requeued in held state")
    case.cluster.run("scontrol", "release", case.job())


def never_satisfied(case: Case) -> None:
    """The dependency is on the first job of the cluster, which failed."""
    case.told("options.dependency", case.job(), "DependencyNeverSatisfied")
    case.cluster.run("scontrol", "update", f"JobId={case.job()}", "Dependency=")


def too_many_hosts(case: Case) -> None:
    case.told("lower hosts", case.job(), "PartitionNodeLimit")
    scancel(case)


def preempt(case: Case, host: str) -> None:
    """A job that comes first takes the whole host for three seconds."""
    case.started()
    argv = ["sbatch", "--exclusive", f"--nodelist={host}", "--output=/dev/null", "--wrap=sleep 3"]
    case.cluster.run(*argv)


def host_of(case: Case) -> str:
    case.started()
    return case.cluster.run("squeue", "--noheader", f"--jobs={case.job()}", "--format=%N").strip()


def bring_back(case: Case, host: str) -> None:
    """The host is started again once SLURM has missed it."""
    down = ("sinfo", "--noheader", f"--nodes={host}", "--partition=main", "--format=%T")
    case.cluster.wait(f"{host} to be missed", lambda: case.cluster.run(*down).startswith("down"), 60)
    case.cluster.faults.start(host)


def kill_host(case: Case) -> None:
    host = host_of(case)
    case.cluster.faults.kill_host(host)
    bring_back(case, host)


def kill_slurmd(case: Case) -> None:
    host = host_of(case)
    case.cluster.faults.kill(host)
    case.started(2)  # elsewhere, while the first still runs
    bring_back(case, host)


def controller_down(case: Case) -> None:
    """The jobs end meanwhile, and the next are to be submitted."""
    case.started(2)
    case.cluster.faults.stop("slurmctld")
    time.sleep(30)
    case.cluster.faults.start("slurmctld")


def controller_pauses(case: Case) -> None:
    """It gets the second submission and answers too late."""
    case.started()
    case.cluster.faults.pause("slurmctld")
    case.results(1)
    time.sleep(18)
    case.cluster.faults.cont("slurmctld")


def accounting_pauses(case: Case) -> None:
    case.started(2)
    case.cluster.faults.pause("slurmdbd")
    case.results(2)
    time.sleep(5)
    case.cluster.faults.cont("slurmdbd")


def situations(failed_job: str) -> tuple[Situation, ...]:
    """What disturbs nobody, for hosts n1 and n2.

    Args:
        failed_job: the id of a job that failed.
    """
    by_setup = 'setup = ["sleep 2", "exit 0"]'
    return (
        Situation("wall-time, SLURM kills", "walltime", "freeze", 600, walltime_min=1),
        Situation("SIGKILL after 60 s", "killed", "kill", 60),
        Situation("success", "ok"),
        Situation("array of 6", "6 × ok", evaluations=6, max_jobs=6),
        Situation("exception", "program_error", "raise"),
        Situation("sys.exit(3)", "program_error", "exit"),
        Situation("SIGKILL after 8 s", "killed", "kill", 8),
        Situation("SIGKILL after 8 s, attempts = 2", "killed → killed", "kill", 8, attempts=2),
        Situation("exit code 0 and no result", "killed", profile=by_setup),
        Situation("memory", "killed", "allocate", 600, options=(QUIET, "mem = '200M'")),
        Situation("wall-time, ends itself", "walltime", "work", 600, walltime_min=0.2),
        Situation(
            "wall-time, goes on with more",
            "walltime → ok",
            "work",
            25,
            walltime_min=0.25,
            profile="walltime_max_min = 3",
        ),
        Situation("scancel while it runs", "cancelled", "work", 600, act=partial(scancel, running=True)),
        Situation("scancel while it waits", "cancelled", options=(QUIET, LATER), act=scancel),
        Situation(
            "scancel of one element that waits",
            "cancelled, 2 × ok",
            evaluations=3,
            options=(QUIET, LATER),
            act=scancel_element,
        ),
        Situation("suspend, resume", "ok", "work", 6, act=suspend),
        Situation("scontrol requeue", "ok", "first", 600, act=requeue),
        Situation("scontrol requeuehold", "ok", "first", 600, act=requeue_hold),
        Situation(
            "dependency never satisfied",
            "ok",
            options=(QUIET, f"dependency = 'afterok:{failed_job}'"),
            act=never_satisfied,
        ),
        Situation("too many hosts", "cancelled", profile="hosts = 5", options=(), act=too_many_hosts),
    )


# Lanes of their own, on one host each.
LANES: tuple[tuple[Situation, ...], ...] = (
    (
        Situation(
            "preempted and requeued",
            "ok",
            "first",
            600,
            options=on("n3", "preempt"),
            act=partial(preempt, host="n3"),
        ),
        Situation(
            "preempted within a grace time",
            "preempted → ok",
            "first",
            600,
            options=on("n3", "preemptgrace"),
            act=partial(preempt, host="n3"),
        ),
    ),
    (
        Situation(
            "preempted and cancelled",
            "preempted → ok",
            "first",
            600,
            options=on("n4", "preemptcancel"),
            act=partial(preempt, host="n4"),
        ),
        Situation("host dies, requeued", "ok", "first", 600, options=on("n4"), act=kill_host, within_s=30),
    ),
)
# After the lanes, on both of their hosts.
HOSTS = (
    Situation(
        "host dies, not requeued",
        "host_fault → ok",
        "first",
        600,
        attempts=2,
        options=("exclude = 'n1,n2'", "no-requeue = true"),
        act=kill_host,
        within_s=30,
    ),
    Situation(
        "slurmd dies, its job lives on",
        "ok",
        "work",
        40,
        options=("exclude = 'n1,n2'",),
        act=kill_slurmd,
        within_s=30,
    ),
)
# After everything else: nobody else can work meanwhile.
CONTROLLER = (
    Situation(
        "slurmctld down for 30 s",
        "4 × ok",
        "work",
        5,
        evaluations=4,
        max_jobs=2,
        options=(),
        act=controller_down,
    ),
    Situation(
        "slurmctld stands still at a submission",
        "2 × ok",
        "work",
        3,
        evaluations=2,
        max_jobs=1,
        options=(),
        act=controller_pauses,
    ),
)
ACCOUNTING = Situation(
    "slurmdbd stands still",
    "2 × ok",
    "work",
    4,
    evaluations=2,
    options=(),
    act=accounting_pauses,
)
# Within a minute all together.
FAST = (
    "array of 6", "exception", "SIGKILL after 8 s", "exit code 0 and no result", "wall-time, ends itself",
    "scancel while it runs", "scancel of one element that waits", "suspend, resume", "scontrol requeuehold",
    "dependency never satisfied",
)  # fmt: skip
