"""Configuration of a test OAR: oar.conf, the job resource manager, the database's settings, the resources."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

CORES_PER_GPU = 2
MARK = "# orchestrator tests"

# OAR pipes this to perl on every host of a job, before and after it. The packages' own scripts need cgroups.
# It reads which processes are the job's in their environment, where theirs read it in the job's cgroup.
JOB_RESOURCE_MANAGER = r"""
use strict; use warnings;
my $text = ""; while (<STDIN>) { $text .= $_; }
my $job = eval($text);
my $action = $ARGV[0] // "";
if (!defined($job->{job_id})) { warn("[job resource manager] no job\n"); exit(2); }
if ($action eq "init") {
    my $directory = $job->{oar_tmp_directory};
    exit(-d $directory || mkdir($directory) ? 0 : 13);
}
if ($action eq "clean") {
    my $kill = 'my $id = shift; for my $file (glob("/proc/[0-9]*/environ")) {'
        . ' open(my $f, "<", $file) or next; local $/; my $x = <$f>; close($f); next unless defined $x;'
        . ' next unless $x =~ /(?:^|\0)OAR_JOB_ID=$id(?:\0|$)/ and $file =~ m{/proc/(\d+)/};'
        . ' kill(9, $1); print "$1\n"; }';
    for my $try (1..5) {
        open(my $killed, "-|", "oardodo", "perl", "-e", $kill, int($job->{job_id})) or exit(6);
        my @pids = <$killed>; close($killed);
        exit(0) if !@pids;
        select(undef, undef, undef, 0.2);
    }
    exit(0);
}
exit(3);
"""

POSTGRESQL = """
port={port}
listen_addresses='127.0.0.1'
unix_socket_directories=''
fsync=off
synchronous_commit=off
full_page_writes=off
shared_buffers=32MB
max_connections=200
"""

# Fails on hosts that are to look broken; its third argument is the file of the job's hosts.
PROLOGUE = """\
#!/bin/sh
read -r host <"$3"
[ ! -e "{broken}/$host" ]
"""

# With the words of the rule that OAR sites use.
MOST_JOBS = r"""
insert into admission_rules (priority, enabled, rule) values (90, 'YES', '{mark}
my $jobs = $dbh->selectrow_array(
    "select count(*) from jobs where job_user=''$user'' and state not in (''Terminated'',''Error'')");
if ($jobs + $array_job_nb > {count}) {{
    die("[ADMISSION RULE] Error: you cannot have more than {count} jobs waiting in the queue\\n");
}}
');
"""
ANY_JOBS = "delete from admission_rules where rule like '{mark}%'"

# Columns of a resource that Grid'5000 has and a fresh OAR has not.
PROPERTIES = {
    "host": "varchar(255)",
    "cluster": "varchar(255)",
    "gpu_model": "varchar(255)",
    "cpu": "integer",
    "core": "integer",
    "gpu": "integer",
    "gpudevice": "integer",
    "gpu_count": "integer",
}

# Grid'5000 accepts job types that stock OAR refuses; here they have no effect.
MORE_TYPES = """
update admission_rules set rule = replace(rule, 'qr/^state=permissive$/,',
    'qr/^state=permissive$/, qr/^exotic$/, qr/^(?:day|night|weekend)$/,')
where rule like '%state=permissive%' and rule not like '%exotic%';
"""


def configuration(packaged: str, directory: Path, database_port: int) -> str:
    """Text of /etc/oar/oar.conf.

    Args:
        packaged: the text that the packages brought.
        directory: of the cluster.
        database_port: where its PostgreSQL listens.
    """
    text = re.sub(r"(?m)^(CPUSET_PATH|PINGCHECKER_\w+)=", r"#\1=", packaged)
    for name, value in _settings(directory, database_port).items():
        line = f'{name}="{value}"'
        text, found = re.subn(rf"(?m)^#?\s*{name}=.*$", lambda _, line=line: line, text, count=1)  # type: ignore[misc]
        if not found:
            text += f"{line}\n"
    return text


def _settings(directory: Path, database_port: int) -> Mapping[str, object]:
    return {
        "DB_HOSTNAME": "127.0.0.1",
        "DB_PORT": database_port,
        "DB_BASE_PASSWD": "oar",
        "DB_BASE_PASSWD_RO": "oar_ro",
        "SERVER_HOSTNAME": "oar-frontend",
        "LOG_LEVEL": 3,
        "LOG_FILE": directory / "log/oar.log",
        "OAR_RUNTIME_DIRECTORY": directory / "runtime",
        "OARSUB_DEFAULT_RESOURCES": "/host=1",
        "OARSUB_NODES_RESOURCES": "network_address",
        "JOB_RESOURCE_MANAGER_PROPERTY_DB_FIELD": "cpuset",
        "JOB_RESOURCE_MANAGER_FILE": "/etc/oar/job_resource_manager_tests.pl",
        # Every host is this machine: none need be asked whether it is there.
        "PINGCHECKER_GENERIC_COMMAND": "/bin/true",
        # Short timers: the defaults are 5 s between two plans, and a gap of 60 s after each job.
        "SCHEDULER_MIN_TIME_BETWEEN_2_CALLS": 0,
        "SCHEDULER_JOB_SECURITY_TIME": 5,
        "JOBDEL_SOFTWALLTIME": 20,
        "JOBDEL_WALLTIME": 60,
        "PROLOGUE_EPILOGUE_TIMEOUT": 20,
        "PROLOGUE_EXEC_FILE": directory / "bin/prologue",
        "OAR_SSH_CONNECTION_TIMEOUT": 20,
    }


def resources(hosts: Sequence[str], gpus: int) -> str:
    """SQL that adds the properties, and the hosts with their cores and GPUs."""
    columns = [f"alter table resources add {name} {kind};" for name, kind in PROPERTIES.items()]
    rows = []
    core = 0
    for number, host in enumerate(hosts):
        for device in range(gpus):
            for _ in range(CORES_PER_GPU):
                core += 1
                gpu, cpuset = number * gpus + device + 1, (core - 1) % (gpus * CORES_PER_GPU)
                rows.append(
                    f"('{host}','{host}','chuc','A100-SXM4-40GB',{number + 1},{core},{gpu},{device},{gpus},"
                    f"'{cpuset}','Alive')"
                )
    names = "network_address,host,cluster,gpu_model,cpu,core,gpu,gpudevice,gpu_count,cpuset,state"
    return "\n".join(
        [*columns, f"insert into resources ({names}) values", ",\n".join(rows) + ";", MORE_TYPES]
    )
