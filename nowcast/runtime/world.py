"""The processes that this one was started with, as whoever started them says in the environment.

Four starters are known: torchrun, srun, a script that sets torch's variables by itself, and
nowcast. What their variables say is read here once, so that nothing else depends on the
environment: Lightning reads the same variables by rules of its own, which take one process for two,
or two for one.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from nowcast.runtime.errors import SaidElsewhere, UserError

OURS, TORCHRUN, SRUN, SCRIPT, ALONE = "nowcast", "torchrun", "srun", "WORLD_SIZE", ""
MARK = "NOWCAST_WORLD"  # set for the processes that nowcast starts itself
_TORCH, _MEETING_PLACE = ("WORLD_SIZE", "RANK", "LOCAL_RANK"), ("MASTER_ADDR", "MASTER_PORT")
# Of Open MPI, of MPICH and Intel MPI, of MVAPICH, and of LSF.
_MPI = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "JSM_NAMESPACE_SIZE")
# Names of Slurm jobs that are a shell to type in, as Lightning sees it, too.
_INTERACTIVE = ("bash", "interactive")
_PORTS = range(15_000, 30_000)  # below those that a system gives out by itself


@dataclass(frozen=True)
class World:
    """The processes of one command.

    Args:
        rank: of this process, from 0.
        size: number of processes, on all machines.
        local_rank, local_size: the same among those on this machine.
        starter: who started them: ``TORCHRUN``, ``SRUN``, ``SCRIPT``, ``OURS``, or ``ALONE``.
        address, port: where the process of rank 0 listens.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    starter: str = ALONE
    address: str = "127.0.0.1"
    port: int = 0

    @property
    def machines(self) -> int:
        """How many machines take part."""
        return self.size // self.local_size

    @property
    def silent(self) -> bool:
        """Whether another process of this world, certainly there, says what is to be said."""
        return self.rank > 0 and self.starter in (OURS, TORCHRUN, SRUN)


def started_world(environment: Mapping[str, str] = os.environ) -> World:
    """What this process was started as.

    Raises:
        UserError: the variables contradict one another, or are of a starter that is not supported;
            the sentence says what to set.
    """
    if MARK in environment or any(name in environment for name in _TORCH):
        return _of_torch(environment)
    tasks = [_number(environment, name) for name in ("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS")]
    if max(count or 1 for count in tasks) > 1:
        return _of_slurm(environment)
    for name in _MPI:
        if _number(environment, name, default=1) > 1:
            raise UserError(
                f"{name}={environment[name]}: processes that mpirun or jsrun started cannot work "
                "together here; start them with torchrun --nproc_per_node=N, or one process with "
                "training.devices=N."
            )
    return World()


def check_devices(world: World, count: int, asked: str | int) -> None:
    """Refuse processes that were started, but would not be used: each would train the same model
    for itself.

    Args:
        world: the processes.
        count: how many devices of this machine ``training.devices`` means.
        asked: ``training.devices`` as it was typed.

    Raises:
        UserError: they are not as many as the devices.
    """
    if world.starter in (ALONE, OURS) or count == world.local_size:
        return
    counted = "" if str(asked) == str(count) else f", which is {count} here"
    found = f"{world.local_size} process{'' if world.local_size == 1 else 'es'} on this machine"
    if world.starter == SCRIPT:
        wrong = f"WORLD_SIZE={world.size} in the environment says that a launcher started {found}"
        other = "or, if nothing was started, unset WORLD_SIZE RANK LOCAL_RANK"
    elif world.starter == SRUN:
        wrong = f"Slurm has {world.local_size} tasks for this on this machine (SLURM_NTASKS)"
        other = "and start with srun; for one process use --ntasks=1"
    else:
        wrong = f"torchrun started {found}"
        other = "or start it without torchrun"
    raise UserError(
        f"{wrong}, but training.devices is {asked}{counted}; give "
        f"training.devices={world.local_size}, {other}."
    )


def refuse_many(command: str, advice: str = "Only train shares its work.") -> None:
    """Refuse to run a command in several processes, all of which would write the same files.

    Args:
        command: its name.
        advice: a sentence that says what can be run in several.

    Raises:
        UserError: there are several.
        SaidElsewhere: the same in the other processes, one of which says it.
    """
    try:
        world = started_world()
    except UserError:
        return  # left over from something else; what cannot be used does not matter to one process
    in_batch_script = world.starter == SRUN and "SLURM_STEP_ID" not in os.environ
    if world.size == 1 or in_batch_script:
        return
    name = f"WORLD_SIZE={world.size}" if world.starter == SCRIPT else world.starter
    kind = SaidElsewhere if world.silent else UserError
    raise kind(
        f"{command} runs in one process, but {name} stands for {world.size} of them; start it "
        f"without. {advice}"
    )


def _of_torch(environment: Mapping[str, str]) -> World:
    """The world that torchrun's variables describe."""
    if MARK in environment:
        starter = OURS
    elif "TORCHELASTIC_RUN_ID" in environment:
        starter = TORCHRUN
    else:
        starter = SCRIPT
    size = _number(environment, "WORLD_SIZE")
    needed = {None: ("WORLD_SIZE",), 1: ()}.get(size, _TORCH[1:] + _MEETING_PLACE)
    lacking = [name for name in needed if name not in environment]
    advice = "start several with training.devices=N or torchrun --nproc_per_node=N."
    if lacking:
        given = ", ".join(f"{name}={environment[name]}" for name in _TORCH if name in environment)
        raise UserError(
            f"{given} in the environment is what a launcher of several processes sets, but "
            f"{' and '.join(lacking)} is not set; "
            f"unset WORLD_SIZE RANK LOCAL_RANK to train in one process, or {advice}"
        )
    rank = _number(environment, "RANK", default=0)
    local_rank = _number(environment, "LOCAL_RANK", default=0)
    local_size = _number(environment, "LOCAL_WORLD_SIZE", default=size)
    in_order = local_rank < local_size <= size and local_rank <= rank < size
    if not in_order or size % local_size:
        raise UserError(
            f"RANK={rank}, WORLD_SIZE={size}, LOCAL_RANK={local_rank} and "
            f"LOCAL_WORLD_SIZE={local_size} contradict one another; "
            f"unset them to train in one process, or {advice}"
        )
    address = environment.get("MASTER_ADDR", "127.0.0.1")
    port = _number(environment, "MASTER_PORT", default=0)
    return World(rank, size, local_rank, local_size, starter, address, port)


def _of_slurm(environment: Mapping[str, str]) -> World:
    """The tasks of srun; a shell that salloc, srun or sbatch gave a user to type in is one process,
    whatever was reserved for it.
    """
    # Not set in the script of sbatch, nor in the shell of salloc.
    by_srun = "SLURM_STEP_ID" in environment
    if not by_srun and environment.get("SLURM_JOB_NAME") in _INTERACTIVE:
        return World()
    of_step = by_srun and "SLURM_STEP_NUM_TASKS" in environment
    size = _number(environment, "SLURM_STEP_NUM_TASKS" if of_step else "SLURM_NTASKS", default=1)
    if size == 1:
        return World()
    lacking = [name for name in ("SLURM_PROCID", "SLURM_LOCALID") if name not in environment]
    if lacking:
        raise UserError(
            f"SLURM_NTASKS={size}, but {' and '.join(lacking)} is not set: this process was not "
            f"started by srun. Start it with srun and training.devices={size}, or unset "
            "SLURM_NTASKS to train in one process."
        )
    local_size = _tasks_of_a_machine(environment, size)
    job = _number(environment, "SLURM_JOB_ID", default=0)
    step = _number(environment, "SLURM_STEP_ID", default=0)
    port = _number(environment, "MASTER_PORT", default=_PORTS[(31 * job + step) % len(_PORTS)])
    machines = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_NODELIST")
    if local_size == size or not machines:
        machines = "127.0.0.1"
    address = environment.get("MASTER_ADDR") or _first_machine(machines)
    rank, local_rank = _number(environment, "SLURM_PROCID"), _number(environment, "SLURM_LOCALID")
    return World(rank, size, local_rank, local_size, SRUN, address, port)


def _tasks_of_a_machine(environment: Mapping[str, str], size: int) -> int:
    """Tasks on each machine: "2" or "2(x3)", or the same number by other variables of Slurm."""
    spread = environment.get("SLURM_STEP_TASKS_PER_NODE") or environment.get("SLURM_TASKS_PER_NODE")
    if spread is None:
        return _number(environment, "SLURM_NTASKS_PER_NODE", default=size)
    even = re.fullmatch(r"(\d+)(?:\(x\d+\))?", spread)
    if even is None or size % int(even[1]):
        raise UserError(
            f"Slurm spreads the {size} tasks unevenly over machines ({spread}); use "
            "--ntasks-per-node, the same number on each."
        )
    return int(even[1])


def _first_machine(machines: str) -> str:
    """The first of Slurm's list of machines, such as ``node[05-09],other``."""
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", machines).split(",")[0]


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int | None:
    """A whole number of the environment, 0 or more; ``default`` where it is not set.

    Raises:
        UserError: something else is set.
    """
    value = environment.get(name)
    if value is None:
        return default
    if not re.fullmatch(r"\d{1,12}", value.strip()):
        raise UserError(
            f"{name} is {value!r} in the environment; expected a whole number. Unset it to train "
            "in one process."
        )
    return int(value)
