"""Why SLURM lets a job wait for what never comes, or refuses it, and which line of the profile to change.

The words are those of JOB REASON CODES in squeue(1) and of slurm_strerror up to SLURM 24.05. Reasons that may
pass by themselves (Priority, Resources, Dependency, BeginTime, limits on what runs at once) are not listed.
"""

from __future__ import annotations

import re
from types import MappingProxyType

from orchestrator.errors import Full, Refused, SchedulerError

_RELEASE = "`scontrol release` it, or cancel it"
_NO_SUCH_HOST = "no host has it all: lower hosts, gpus or the sizes in [options]"
_PARTITION = "choose another options.partition"

# squeue's reason or state word, in lower case -> what to do.
_PENDING = MappingProxyType(
    {
        "dependencyneversatisfied": "cancel it, or change options.dependency",
        "dependency never satisfied": "cancel it, or change options.dependency",
        "partitionnodelimit": f"lower hosts, or {_PARTITION}",
        "partitiontimelimit": f"lower walltime_min, or {_PARTITION}",
        "partitiondown": _PARTITION,
        "partitioninactive": _PARTITION,
        "partitionconfig": f"lower walltime_min, hosts, gpus or the sizes in [options], or {_PARTITION}",
        "accountnotallowed": "change options.account or options.partition",
        "qosnotallowed": "change options.qos or options.partition",
        "qosusagethreshold": "change options.qos",
        "invalidaccount": "change options.account",
        "invalidqos": "change options.qos",
        "badconstraints": f"change options.constraint; {_NO_SUCH_HOST}",
        "reservationdeleted": "change options.reservation",
        "reservation": "change options.reservation, or wait until it begins",
        "deadline": "change options.deadline",
        "jobhelduser": _RELEASE,
        "jobheldadmin": "ask the site why it holds it, or cancel it",
        "jobholdmaxrequeue": f"it was requeued too often; {_RELEASE}",
        "joblaunchfailure": f"its host could not start it; {_RELEASE}",
        "launch failed requeued held": f"its host could not start it; {_RELEASE}",
        "job requeued in held state": _RELEASE,
        "job requeued in special exit state": _RELEASE,
        "requeue hold": _RELEASE,
        "special exit": _RELEASE,
        "resv del hold": f"its reservation was deleted: change options.reservation, or {_RELEASE}",
        "reqnodenotavail, reserved for maintenance": "lower walltime_min to end before it, or wait it out",
    }
)
_NOT_STARTED = ("joblaunchfailure", "launch failed requeued held", "jobholdmaxrequeue")
_MAX_TIME = re.compile(r"(assoc|qos)maxwall|associationtimelimit|qostimelimit")
_MAX_SIZE = re.compile(r"(assoc|qos)m(ax|in).*(per(job|node)(limit)?|notsatisfied)|qosmin|maxmemperlimit")
_SPENT = re.compile(r"(assoc|qos)grp(wall|(?!.*run)\w*minutes)")  # of an account's or a QOS's time

# sbatch's words, in lower case -> the lines to look at; the first that is found counts.
_REFUSED = MappingProxyType(
    {
        "invalid partition": "options.partition",
        "partition specified or system default": "options.partition",
        "requested nodes not in this partition": "options.partition",
        "not permitted to use this partition": "options.partition",
        "invalid account": "options.account",
        "invalid qos": "options.qos",
        "breached requested qos": "options.qos",
        "invalid feature": "options.constraint",
        "invalid generic resource": "gpus or options.gres",
        "invalid gres": "gpus or options.gres",
        "invalid trackable resource": "gpus or [options]",
        "invalid license": "options.licenses",
        "invalid node name": "options.exclude or options.nodelist",
        "reservation is invalid": "options.reservation",
        "access denied to requested reservation": "options.reservation",
        "job dependency problem": "options.dependency",
        "time limit": "walltime_min",
        "time-min specification": "options.time-min",
        "node configuration is not available": "hosts, gpus and the sizes in [options]",
        "node count specification invalid": "hosts",
        "more processors requested than permitted": "options.cpus-per-task",
        "cpu count specification invalid": "options.cpus-per-task",
        "memory required by task is not available": "options.mem",
        "task count specification invalid": "[options]",
        "unrecognized option": "[options]",
        "invalid option": "[options]",
        "is ambiguous": "[options]",
        "requires an argument": "[options]",
        "access/permission denied": "",
        "invalid user id": "",
    }
)
# sbatch's own checks of an option, before it asks anybody: "Invalid --mem specification".
_MALFORMED = re.compile(r"invalid (--)?[\w-]+ specification")
_FULL = (
    "invalid job array specification",  # ours is well formed: it has more elements than MaxArraySize
    "resource temporarily unavailable",
    "temporarily unable to accept job",
    "job queue full",
    "job creation temporarily disabled",
    "unable to create job record, try again",
    "partition not available (inactive or drain)",
    "required node not available",
    "reservation not usable now",
)
_POLICY = "job violates accounting/qos policy"  # said of limits on submission, size and time alike
_LIMIT = re.compile(r"^(?:sbatch: )?(?:error: )?((?:assoc|qos|max)\w+)$", re.MULTILINE)


def launch_failed(reason: str) -> bool:
    """True if SLURM holds a job for this reason because a host could not start it."""
    return _plain(reason) in _NOT_STARTED


def remedy(reason: str) -> str:
    """What to do about a job that waits for this reason, or in this state; "" if the reason may pass."""
    words = _plain(reason)
    if words in _PENDING:
        return _PENDING[words]
    word = words.partition(",")[0]
    if _MAX_TIME.match(word):
        return "lower walltime_min, or change options.qos"
    if _MAX_SIZE.match(word):
        return "ask for what the limit allows with hosts, gpus or [options], or change options.qos"
    if _SPENT.match(word):
        return "its time is spent: change options.account or options.qos"
    return ""


def _plain(reason: str) -> str:
    return reason.replace("_", " ").lower()


def refusal(said: str) -> SchedulerError:
    """The error for what a failed sbatch said.

    Only words known to mean that no job exists make it `Refused`, or `Full` if time or fewer jobs will do.
    """
    words = said.lower()
    one_line = "; ".join(line.removeprefix("sbatch: ").removeprefix("error: ") for line in said.splitlines())
    if _POLICY in words:
        limit = _LIMIT.search(words)
        if limit is None or "submit" in limit[1]:
            return Full(one_line)
        return Refused(f"{one_line}: {remedy(limit[1]) or 'ask for less, or change options.qos'}")
    if any(phrase in words for phrase in _FULL):
        return Full(one_line)
    if (lines := _lines(words)) is not None:
        return Refused(f"{one_line}: look at {lines} in the profile" if lines else one_line)
    return SchedulerError(one_line)


def lines_to_mend(said: str) -> str:
    """The lines of the profile that a failed sbatch speaks of; "" if it is not known to speak of any."""
    return _lines(said.lower()) or ""


def _lines(words: str) -> str | None:
    """The same of words in lower case; None if they are not known to be a refusal."""
    for phrase, lines in _REFUSED.items():
        if phrase in words:
            return lines
    return "[options]" if _MALFORMED.search(words) else None
