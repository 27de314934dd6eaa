"""A real SLURM of one node for tests: munged, slurmctld and slurmd, in a folder and on ports of their own."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
STARTS_WITHIN = 60.0  # s
LOW, URGENT = "low", "urgent"  # partitions; a job of the second takes the node from those of the first
GRACE = 60  # s that a preempted job of `low` is given; `abrupt` gives none
ABRUPT = "abrupt"

CONFIGURATION = """\
ClusterName=lenet
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits until its credentials have expired, two minutes by default
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ReturnToService=2
MpiDefault=none
# Containers seldom hand down their control groups
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=1000
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,sched_min_interval=100000,bf_interval=5
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=20
MinJobAge=600
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName={low} Nodes={host} Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace} MaxTime=60
PartitionName={abrupt} Nodes={host} PriorityTier=1 PreemptMode=REQUEUE MaxTime=60
PartitionName={urgent} Nodes={host} PriorityTier=10 PreemptMode=OFF MaxTime=60
"""


class ClusterError(RuntimeError):
    """SLURM cannot be started here."""


def why_not() -> str:
    """Say why no SLURM can be started here; empty if one can be tried."""
    # Debian keeps daemons where an ordinary user's PATH does not lead
    missing = [name for name in PROGRAMS if not shutil.which(name, path=search_path())]
    if missing:
        return f"needs {', '.join(missing)} from Debian's packages slurm-wlm and munge"
    return "" if os.geteuid() == 0 else "needs root, so that slurmd may start jobs"


def search_path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


class Cluster:
    """A running SLURM.

    Args:
        folder: that holds its configuration, state and logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "PATH": search_path(), "SLURM_CONF": str(folder / "slurm.conf")}

    def ask(self, *command: str) -> str:
        """Run one of SLURM's commands and return what it prints; raises CalledProcessError if it fails."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.strip()

    def jobs(self) -> list[dict[str, str]]:
        """List all jobs that the controller remembers, each as what `scontrol show job` says of it."""
        lines = self.ask("scontrol", "show", "job", "--oneliner").splitlines()
        pairs = ([word.partition("=") for word in line.split() if "=" in word] for line in lines)
        return [{name: value for name, _, value in words} for words in pairs if words]

    def cancel_all(self) -> None:
        """End every job at once, and wait until the node is free."""
        running = [job["JobId"] for job in self.jobs() if job["JobState"] in ("RUNNING", "PENDING", "COMPLETING")]
        if running:
            self.ask("scancel", "--signal=KILL", "--full", *running)
            self.ask("scancel", *running)
            wait_until(lambda: not self.ask("squeue", "--noheader"), STARTS_WITHIN, "the end of all jobs")


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Return once the condition holds; raises TimeoutError after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not happen in {seconds:.0f} s")
        time.sleep(0.1)


@contextlib.contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """Start SLURM, and stop what was started.

    Args:
        folder: empty; receives everything.

    Raises:
        ClusterError: a daemon ends at once, or the node does not become idle; with the last line of its log.
    """
    host = socket.gethostname().partition(".")[0]
    (folder / "state").mkdir(parents=True)
    (folder / "spool").mkdir()
    controller_port, node_port = free_ports(2)
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(
            folder=folder,
            host=host,
            controller_port=controller_port,
            node_port=node_port,
            low=LOW,
            urgent=URGENT,
            abrupt=ABRUPT,
            grace=GRACE,
        )
    )
    # Counted, not used: jobs that ask for GPUs are placed as on a machine that has some
    for number in range(2):
        (folder / f"gpu{number}").touch()
    (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu File={folder}/gpu[0-1]\n")
    cluster = Cluster(folder)
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *arguments: str) -> None:
        with (folder / f"{name}.out").open("wb") as output:
            started.append(
                subprocess.Popen(
                    [name, *arguments], env=cluster.environment, stdout=output, stderr=output, start_new_session=True
                )
            )

    def stands(condition: Callable[[], bool], name: str) -> None:
        def _stands() -> bool:
            if started[-1].poll() is not None:
                raise ClusterError(f"{name} ended with {started[-1].returncode}: {last_line(folder, name)}")
            return condition()

        try:
            wait_until(_stands, STARTS_WITHIN, f"the start of {name}")
        except TimeoutError as error:
            raise ClusterError(f"{error}: {last_line(folder, name)}") from None

    def answers(*command: str, word: str) -> bool:
        with contextlib.suppress(subprocess.SubprocessError):
            return word in cluster.ask(*command)
        return False

    try:
        subprocess.run(
            ["mungekey", "--create", f"--keyfile={folder}/munge.key"], env=cluster.environment, check=True, timeout=60
        )
        files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        # --force: the folder may be writable by others than its owner, as temporary folders are
        start("munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *files)
        stands((folder / "munge.socket").exists, "munged")
        start("slurmctld", "-D")
        stands(lambda: answers("scontrol", "ping", word="UP"), "slurmctld")
        start("slurmd", "-D", "-N", host)
        stands(lambda: answers("sinfo", "--noheader", "--format=%T", word="idle"), "slurmd")
        yield cluster
    finally:
        with contextlib.suppress(subprocess.SubprocessError, FileNotFoundError, TimeoutError):
            cluster.cancel_all()
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def last_line(folder: Path, name: str) -> str:
    """Find the last thing that a daemon said."""
    for log in (folder / f"{name}.out", folder / f"{name}.log"):
        if log.exists() and (lines := log.read_text(errors="replace").split("\n")[:-1]):
            return lines[-1]
    return "nothing said"


def free_ports(count: int) -> list[int]:
    """Choose ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
