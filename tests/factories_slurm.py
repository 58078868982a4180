"""A Slurm of one machine, for the time of a test: its own munge, controller and node."""

import os
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack

import pytest

SETTINGS = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=1000
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


@pytest.fixture
def slurm(tmp_path_factory):
    """Variables of the environment with which sbatch and srun find it."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("slurmctld", "slurmd", "munged"))):
        pytest.skip("slurmctld, slurmd and munged are needed, and the rights to start them")
    folder = tmp_path_factory.mktemp("slurm")
    folder.chmod(0o755)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    host, cores = socket.gethostname(), os.cpu_count()
    path = folder / "slurm.conf"
    path.write_text(
        SETTINGS.format(host=host, user="root", folder=folder, ports=free_ports(2), cores=cores)
    )
    variables = {"SLURM_CONF": str(path)}
    munge = [f"--{name}={folder}/munge.{name.split('-')[0]}" for name in ("socket", "pid-file")]
    munge += [f"--key-file={key}", f"--log-file={folder}/munge.log", "--force", "--foreground"]
    munge += [f"--seed-file={folder}/munge.seed"]
    commands = [
        ["munged", *munge],
        ["slurmctld", "-D", "-f", str(path)],
        ["slurmd", "-D", "-f", str(path)],
    ]
    running = []
    try:
        for command in commands:
            log = (folder / f"{command[0]}.log").open("w")
            running.append(
                subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | variables)
            )
            time.sleep(1)

        def is_idle():
            done = subprocess.run(
                ["sinfo", "--noheader", "--format=%T"],
                env=os.environ | variables,
                capture_output=True,
                text=True,
                timeout=30,
            )
            return done.stdout.strip() == "idle"

        if not wait_for(is_idle):
            pytest.skip("a Slurm of one machine does not start here")
        yield variables
    finally:
        for process in reversed(running):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
