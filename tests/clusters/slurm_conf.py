"""Configuration files of a test cluster, and ports for it."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path


def configuration(
    directory: Path,
    machine: str,
    hosts: Sequence[str],
    gpus: int,
    ports: Sequence[int],
    *,
    accounting: bool,
    settings: Mapping[str, str],
) -> dict[str, str]:
    """Texts of etc/NAME by NAME.

    Args:
        directory: of the cluster.
        machine: this machine's name.
        hosts: names of the cluster's hosts.
        gpus: per host.
        ports: for slurmctld, slurmdbd, the database, and each host.
        accounting: with slurmdbd.
        settings: more lines of slurm.conf.
    """
    controller_port, accounting_port, database_port, *host_ports = ports
    munge = directory / "munge/munge.sock"
    slurm = f"""\
ClusterName=test
SlurmctldHost={machine}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# cred_expire: a requeued job waits for its old credential to expire, two minutes by default
AuthInfo=socket={munge},cred_expire=5
CredType=cred/munge
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool/%n
SlurmctldPidFile={directory}/pid/slurmctld.pid
SlurmdPidFile={directory}/pid/%n.pid
SlurmctldLogFile={directory}/log/slurmctld.log
SlurmdLogFile={directory}/log/%n.log
PlugStackConfig={directory}/etc/plugstack.conf
ReturnToService=2
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# hosts are what NodeName says, not what the machine has
SlurmdParameters=config_overrides
# short timers: faults are noticed within seconds
SlurmctldTimeout=30
SlurmdTimeout=10
InactiveLimit=0
MinJobAge=300
KillWait=3
OverTimeLimit=0
UnkillableStepTimeout=60
Waittime=0
CompleteWait=0
MessageTimeout=10
BatchStartTimeout=20
TCPTimeout=2
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=100000,batch_sched_delay=0,max_rpc_cnt=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=1000
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PriorityType=priority/basic
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
JobCompType=jobcomp/none
GresTypes=gpu
PartitionName=DEFAULT DefaultTime=10
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=10 PreemptMode=off
PartitionName=preempt Nodes=ALL MaxTime=INFINITE PriorityTier=1 PreemptMode=requeue
PartitionName=preemptgrace Nodes=ALL MaxTime=INFINITE PriorityTier=1 PreemptMode=requeue GraceTime=5
PartitionName=preemptcancel Nodes=ALL MaxTime=INFINITE PriorityTier=1 PreemptMode=cancel
PartitionName=small Nodes=n1 MaxTime=5 MaxNodes=1
"""
    slurm += "".join(f"{name}={value}\n" for name, value in settings.items())
    for host, port in zip(hosts, host_ports, strict=True):
        slurm += (
            f"NodeName={host} NodeHostname={machine} NodeAddr=127.0.0.1 Port={port} CPUs=8 Boards=1 "
            f"SocketsPerBoard=1 CoresPerSocket=8 ThreadsPerCore=1 RealMemory=8000 Gres=gpu:a100:{gpus} "
            "State=UNKNOWN\n"
        )
    if accounting:
        slurm += (
            f"AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=127.0.0.1\n"
            f"AccountingStoragePort={accounting_port}\nAccountingStoragePass={munge}\n"
            f"AccountingStorageTRES=gres/gpu\n"
        )
    else:
        slurm += "AccountingStorageType=accounting_storage/none\n"
    files = {
        "slurm.conf": slurm,
        "gres.conf": "AutoDetect=off\n"
        + "".join(
            f"NodeName={host} Name=gpu Type=a100 File={directory}/dev/nvidia[0-{gpus - 1}]\n"
            for host in hosts
        ),
        "plugstack.conf": "",
        "cgroup.conf": "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n",
    }
    if accounting:
        files["slurmdbd.conf"] = f"""\
AuthType=auth/munge
AuthInfo=socket={munge},cred_expire=5
DbdHost={machine}
DbdAddr=127.0.0.1
DbdPort={accounting_port}
SlurmUser=root
DebugLevel=info
LogFile={directory}/log/slurmdbd.log
PidFile={directory}/pid/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
"""
    return files


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, below those the kernel gives to outgoing connections."""
    ports: list[int] = []
    sockets = []
    while len(ports) < count:
        port = random.randrange(20000, 32000)
        candidate = socket.socket()
        sockets.append(candidate)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            continue
        ports.append(port)
    for one in sockets:
        one.close()
    return ports
