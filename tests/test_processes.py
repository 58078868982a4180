"""Training in several processes: the same numbers as in one, one line and one exit code whatever
happens, nobody left behind.
"""

import json
import math
import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import two_processes
from test_training import SETTINGS

from nowcast.cli import main, train
from nowcast.cli.common import stopped_by_signals
from nowcast.data.sampling import EpochSampler
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime.errors import Terminated, UserError
from nowcast.runtime.processes import Processes
from nowcast.runtime.world import started_world
from nowcast.training import checkpoints
from nowcast.training import processes as training_processes
from nowcast.training.loop import fit
from nowcast.training.losses import SquaredError, counting_with
from nowcast.training.settings import TrainingSettings

ROOT = Path(__file__).parents[1]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def environment(**variables: str) -> dict[str, str]:
    """That of this process, with a world as a script would describe it."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return (
        os.environ
        | {"PYTHONPATH": path, "TORCH_CPP_LOG_LEVEL": "ERROR", "OMP_NUM_THREADS": "1"}
        | variables
    )


def pair(command: list[str], **options) -> list[subprocess.Popen]:
    """A command in two processes."""
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [
        subprocess.Popen(
            command,
            env=environment(**world, RANK=str(rank), LOCAL_RANK=str(rank)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        for rank in range(2)
    ]


def ends(processes: list[subprocess.Popen], seconds: float = 400) -> list[tuple[int, str]]:
    """Exit codes, and what was written to stderr; whoever does not end by itself is ended."""
    try:
        return [
            (process.returncode, output[1])
            for process in processes
            for output in [process.communicate(timeout=seconds)]
        ]
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The trainings of ``two_processes`` in two processes, and meanwhile those that can be compared
    in this one.
    """
    folder = tmp_path_factory.mktemp("two")
    two_processes.train(folder / "begun by one", **(STEADY | {"epochs": 1}))
    two = pair([sys.executable, str(ROOT / "tests" / "two_processes.py"), str(folder)])
    one = two_processes.trainings(tmp_path_factory.mktemp("one"))
    for code, text in ends(two):
        assert code == 0, text
    return one, json.loads((folder / "result.json").read_text()), folder


STEADY = two_processes.STEADY | {"loss": two_processes.Foreign()}
LOSSES = [name for name in two_processes.LOSSES if name not in ("crps", "exceedance_error")]
MODELS = [name for name in two_processes.SMALL if name != "simvp"]


@pytest.mark.parametrize(
    "name", [*MODELS, *LOSSES, "csi", "foreign", "broken", "clipped", "one sample"]
)
def test_two_processes_train_as_one_with_batches_twice_as_large(results, name):
    """Samples of which unequal parts are missing, a last batch that is smaller, and one that only
    one process has a sample of.
    """
    one, two = results[0][name], results[1]["same"][name]
    rounding = (
        5e-3 if name == "lagrangian" else 2e-5
    )  # which is another one with each batch, at the edges of what its motion has carried there
    for quantity, values in one.items():
        if name == "lagrangian" and quantity == "weights":
            # Adam's first steps are as long for a gradient of rounding errors as for another one
            continue
        assert two[quantity] == pytest.approx(values, rel=rounding, nan_ok=True), quantity


def test_batch_normalisation_takes_the_samples_of_each_process_for_itself(results):
    """SimVP is the only model with it: its losses are like those of one process, and not the same."""
    one, two = results[0]["simvp"], results[1]["same"]["simvp"]
    assert two["train"] == pytest.approx(one["train"], rel=0.05) and two["train"] != pytest.approx(
        one["train"], rel=1e-6
    )


def test_what_a_model_draws_at_random_differs_between_processes_and_is_drawn_again(results):
    first, again = results[1]["alone"]["drawn"]
    assert first == again
    seeds = [json.loads((results[2] / f"seeds-{rank}.json").read_text()) for rank in range(2)]
    assert (
        len(set(seeds[0]) | set(seeds[1])) == len(seeds[0]) + len(seeds[1]) == 8
    )  # two steps and two validations each


@pytest.mark.parametrize("name", ["0-1", "1-2", "1-6"])
def test_sigterm_to_one_of_two_ends_both_and_they_go_on_as_if_never_stopped(results, name):
    """Process and training step: of 3 steps an epoch the first, the second, and the last of the
    next epoch, of which only one process has a sample.
    """
    assert results[1]["alone"]["stopped"][name] == results[1]["alone"]["undisturbed"]


def test_one_process_goes_on_where_two_stopped_and_the_other_way_round_with_as_many_samples_a_step(
    results, tmp_path
):
    undisturbed = results[1]["alone"]["undisturbed"]
    by_one = two_processes.train(results[2] / "begun by two", resume=True, **STEADY)
    for quantity, values in undisturbed.items():
        assert by_one[quantity] == pytest.approx(values, rel=2e-5)
        assert results[1]["alone"]["begun by one"][quantity] == pytest.approx(values, rel=2e-5)


def test_going_on_with_another_number_of_processes_and_of_samples_a_step_trains_on_with_these(
    results, tmp_path
):
    """3 epochs of 2 processes with one sample each a step, then one of a single process with 3
    samples a step.
    """
    folder = shutil.copytree(results[2] / "undisturbed", tmp_path / "run")
    trained = two_processes.train(folder, resume=True, size=3, **(STEADY | {"epochs": 4}))
    undisturbed = results[1]["alone"]["undisturbed"]
    for quantity in ("train", "validation"):
        assert len(trained[quantity]) == 4 and trained[quantity][:3] == pytest.approx(
            undisturbed[quantity], rel=1e-9
        )
        assert np.isfinite(trained[quantity]).all()


def test_two_processes_write_one_log_and_one_row_for_each_epoch(results):
    logs = results[2] / "csi" / "logs"
    assert [path.name for path in logs.iterdir()] == ["version_0"]
    rows = (logs / "version_0" / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("validation_loss")
    epochs = results[1]["same"]["csi"]["validation"]
    assert [
        float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]
    ] == pytest.approx(epochs, rel=1e-6)
    assert not list(results[2].rglob(".*"))  # nothing half-written is left


def test_a_step_that_is_left_out_is_not_in_the_mean_of_its_epoch_in_the_log(results):
    """Of two steps an epoch one is no number."""
    rows = (results[2] / "broken" / "logs" / "version_0" / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("train_loss_epoch")
    found = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert found == pytest.approx(results[1]["same"]["broken"]["train"], rel=1e-6) and all(
        map(math.isfinite, found)
    )


def share(
    length: int, world: int, batch_size: int, monkeypatch, **settings
) -> list[list[list[int]]]:
    """The batches of indices of every process."""
    shares = []
    for rank in range(world):
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: world > 1)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda: world)
        sampler = EpochSampler(length, batch_size=batch_size, **settings)
        keys = [index for _, index in sampler]
        assert len(keys) == len(sampler)
        shares.append(
            [keys[start : start + batch_size] for start in range(0, len(keys), batch_size)]
        )
    return shares


@pytest.mark.parametrize("seed", [None, 1])
def test_processes_share_the_batches_of_one_process_whatever_their_number_and_size(
    monkeypatch, seed
):
    """1 to 20 samples, 1 to 5 processes, batches of 1 to 4: equally many batches for each; together
    those of one process with the same samples a step.
    """
    for length in range(1, 21):
        for world in range(1, 6):
            for batch_size in range(1, 5):
                shares = share(length, world, batch_size, monkeypatch, seed=seed)
                (whole,) = share(length, 1, world * batch_size, monkeypatch, seed=seed)
                assert {len(batches) for batches in shares} == {len(whole)}
                for step, expected in enumerate(whole):
                    real = [index for batches in shares for index in batches[step] if index >= 0]
                    assert sorted(real) == sorted(expected)
                    padding = [batches[step] for batches in shares if min(batches[step]) < 0]
                    assert all(
                        len(batch) == 1 for batch in padding
                    )  # a whole batch, of which nothing counts


@pytest.mark.parametrize("name", list(two_processes.LOSSES))
def test_the_mean_of_the_losses_of_parts_is_the_loss_of_the_whole_batch(name):
    """Twenty batches of 5 sequences in parts of 2, 3, or 1, 1, 3, or 4, 1, of which 0 to 90 % are
    missing; the gradients, too.
    """
    loss, generator = two_processes.LOSSES[name], torch.Generator().manual_seed(3)
    for case in range(20):
        target = torch.rand(5, 2, 1, 8, 8, generator=generator)
        missing = (
            torch.rand(5, 1, 1, 1, 1, generator=generator) * 0.9
            if case
            else torch.ones(5, 1, 1, 1, 1)
        )
        observed = torch.rand(target.shape, generator=generator) >= missing
        ahead = {
            "crps": (5, 2, *target.shape[1:]),
            "exceedance_error": (5, 3, *target.shape[1:]),
        }.get(name, target.shape)
        forecast = torch.rand(ahead, generator=generator).requires_grad_()
        parts = (
            [slice(0, 2), slice(2, 5)],
            [slice(0, 1), slice(1, 2), slice(2, 5)],
            [slice(0, 4), slice(4, 5)],
        )
        parts = parts[case % 3]
        counts = []
        for part in parts:  # what each process counts
            own = []
            with counting_with(lambda count, own=own: own.append(count.double()) or count.double()):
                loss.compare(forecast[part], target[part], observed[part])
            counts.append(own)
        means = [sum(together) / len(parts) for together in zip(*counts, strict=True)]
        losses = []
        for part in parts:
            left = iter(means)
            with counting_with(lambda count, left=left: next(left)):
                losses.append(loss.compare(forecast[part], target[part], observed[part]))
        whole = loss.compare(forecast, target, observed)
        shared = sum(losses) / len(parts)
        torch.testing.assert_close(shared, whole)
        for found, expected in zip(
            torch.autograd.grad(shared, forecast), torch.autograd.grad(whole, forecast), strict=True
        ):
            torch.testing.assert_close(found, expected)


TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1234"}
TWO = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}
STEP = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NAME": "train",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
}


@pytest.mark.parametrize(
    ("variables", "rank", "size", "local_size", "starter"),
    [
        ({}, 0, 1, 1, ""),
        (TORCHRUN | TWO, 1, 2, 2, "torchrun"),
        (TORCHRUN | TWO | {"LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0"}, 1, 2, 1, "torchrun"),
        (TORCHRUN | {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}, 0, 1, 1, "torchrun"),
        (TORCHRUN | TWO | {"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, 1, 2, 2, "torchrun"),
        ({"WORLD_SIZE": "1"}, 0, 1, 1, "WORLD_SIZE"),
        ({"MASTER_ADDR": "a", "MASTER_PORT": "1"} | TWO, 1, 2, 2, "WORLD_SIZE"),
        (
            STEP | {"SLURM_NTASKS": "2", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2"},
            1,
            2,
            2,
            "srun",
        ),
        (
            STEP
            | {"SLURM_NTASKS": "4", "SLURM_STEP_ID": "0", "SLURM_STEP_TASKS_PER_NODE": "2(x2)"},
            1,
            4,
            2,
            "srun",
        ),
        (STEP | {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}, 1, 2, 2, "srun"),
        (
            STEP | {"SLURM_NTASKS": "2", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "1"},
            0,
            1,
            1,
            "",
        ),
        ({"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "0"}, 0, 1, 1, ""),
        ({"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "bash", "SLURM_PROCID": "0"}, 0, 1, 1, ""),
        ({"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "interactive"}, 0, 1, 1, ""),
        (
            STEP | {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "interactive", "SLURM_STEP_ID": "3"},
            1,
            2,
            2,
            "srun",
        ),
        ({"OMPI_COMM_WORLD_SIZE": "1", "PMI_SIZE": "1"}, 0, 1, 1, ""),
    ],
)
def test_the_environment_of_every_starter_is_read_as_it_means(
    variables, rank, size, local_size, starter
):
    world = started_world(variables)
    assert (world.rank, world.size, world.local_size, world.starter) == (
        rank,
        size,
        local_size,
        starter,
    )


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"LOCAL_RANK": "1"},
            "LOCAL_RANK=1 in the environment .* WORLD_SIZE is not set; unset WORLD_SIZE RANK "
            "LOCAL_RANK",
        ),
        ({"LOCAL_RANK": "0"}, "WORLD_SIZE is not set"),
        ({"RANK": "0"}, "WORLD_SIZE is not set"),
        ({"WORLD_SIZE": "2"}, "RANK and LOCAL_RANK and MASTER_ADDR and MASTER_PORT is not set"),
        (TWO, "MASTER_ADDR and MASTER_PORT is not set"),
        (TORCHRUN | TWO | {"RANK": "2"}, "contradict one another"),
        (TORCHRUN | TWO | {"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two'"),
        (TORCHRUN | TWO | {"WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "2"}, "contradict one another"),
        (
            {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "train"},
            "SLURM_PROCID and SLURM_LOCALID is not set: this process was not started by srun",
        ),
        (
            STEP | {"SLURM_NTASKS": "3", "SLURM_STEP_ID": "0", "SLURM_STEP_TASKS_PER_NODE": "2,1"},
            "unevenly",
        ),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "OMPI_COMM_WORLD_SIZE=2: .* torchrun --nproc_per_node=N"),
        ({"PMI_SIZE": "4"}, "PMI_SIZE=4"),
        ({"MV2_COMM_WORLD_SIZE": "2"}, "MV2_COMM_WORLD_SIZE=2"),
        ({"JSM_NAMESPACE_SIZE": "2"}, "JSM_NAMESPACE_SIZE=2"),
    ],
)
def test_an_environment_that_cannot_be_used_is_refused_with_what_to_set(variables, message):
    with pytest.raises(UserError, match=message):
        started_world(variables)


@pytest.mark.parametrize(
    ("variables", "devices", "message"),
    [
        (
            TORCHRUN | TWO,
            1,
            "torchrun started 2 processes on this machine, but training.devices is 1; give "
            "training.devices=2, or start it without torchrun",
        ),
        (
            TORCHRUN | {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"},
            2,
            "torchrun started 1 process on this machine, but training.devices is 2",
        ),
        (TORCHRUN | TWO, "auto", "training.devices is auto, which is 1 here"),
        (
            {"MASTER_ADDR": "a", "MASTER_PORT": "1"} | TWO,
            1,
            "WORLD_SIZE=2 in the environment says .* unset WORLD_SIZE RANK LOCAL_RANK",
        ),
        (
            STEP | {"SLURM_NTASKS": "2"},
            1,
            "Slurm has 2 tasks .* but training.devices is 1; give training.devices=2, and start "
            "with srun",
        ),
    ],
)
def test_processes_that_would_each_train_for_themselves_are_refused(
    monkeypatch, capsys, tmp_path, variables, devices, message
):
    """As typed, in the first process of them; nothing is written. (It waits a little for the others
    to hear of it, which are not there.)
    """
    monkeypatch.setattr("nowcast.runtime.processes._WORD", 0.2)
    variables = {name: value.replace("1234", str(free_port())) for name, value in variables.items()}
    ranks = {
        name: "0"
        for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "SLURM_LOCALID")
        if name in variables
    }
    for name, value in (variables | ranks).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stop:
        main(
            [
                "train",
                "experiment=smoke",
                "training.accelerator=cpu",
                f"training.devices={devices}",
                f"output_dir={tmp_path / 'run'}",
            ]
        )
    (line,) = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and re.search(message, line) and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        (
            TORCHRUN | TWO | {"RANK": "0", "LOCAL_RANK": "0"},
            "evaluate runs in one process, but torchrun stands for 2",
        ),
        (TORCHRUN | TWO, ""),
        (
            STEP | {"SLURM_NTASKS": "2", "SLURM_STEP_ID": "0", "SLURM_PROCID": "0"},
            "evaluate runs in one process, but srun stands for 2",
        ),
        ({"LOCAL_RANK": "1"}, "run is not set"),
        (
            {
                "SLURM_NTASKS": "2",
                "SLURM_JOB_NAME": "train",
                "SLURM_PROCID": "0",
                "SLURM_LOCALID": "0",
            },
            "run is not set",
        ),
    ],
)
def test_other_commands_run_in_one_process_and_are_refused_in_several_by_one_line(
    monkeypatch, capsys, variables, code
):
    """What a shell has left over does not matter to them."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stop:
        main(["evaluate"])
    lines = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and len(lines) == bool(code)
    if code != "run is not set":
        assert not code or code in lines[0]
    else:
        assert "stands for" not in lines[0]


def fails_by_itself(rank):
    if rank == 1:
        raise UserError("the disk of this process is full.")
    torch.distributed.all_reduce(torch.zeros(1))


def fails_where_the_other_is_stuck(rank):
    if rank == 0:
        raise UserError("the disk of this process is full.")
    time.sleep(100)


def is_interrupted(rank):
    if rank == 0:
        raise KeyboardInterrupt
    torch.distributed.all_reduce(torch.zeros(1))


def is_killed(rank):
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    torch.distributed.all_reduce(torch.zeros(1))


def has_a_fault(rank):
    if rank == 1:
        raise IndexError("list index out of range")
    torch.distributed.all_reduce(torch.zeros(1))


def is_terminated_before_it_began(rank):
    if rank == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(100)


def leaves_a_second_later(rank):
    if rank == 1:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(1.5)
    raise Terminated


def first_is_killed(rank):
    if rank == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    torch.distributed.all_reduce(torch.zeros(1))


def one_of_two(rank: int, port: int, act, path: Path) -> None:
    """`nowcast train` in a forked process, with something else in place of a training."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(
        TORCHRUN
        | {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": str(port)}
    )

    def acting(*arguments):
        (processes,) = (one for one in arguments if isinstance(one, Processes))
        processes.met()
        torch.distributed.init_process_group(
            "gloo",
            store=torch.distributed.PrefixStore("group", processes.store),
            rank=rank,
            world_size=2,
        )
        act(rank)

    train._train_first = train.train_along = acting
    try:
        main(["train"])
    except SystemExit as stop:
        os._exit(stop.code)
    os._exit(0)


@pytest.mark.parametrize(
    ("act", "codes", "line"),
    [
        (fails_by_itself, (2, 2), "nowcast train: error: the disk of this process is full."),
        (
            fails_where_the_other_is_stuck,
            (2, 2),
            "nowcast train: error: the disk of this process is full.",
        ),
        (is_interrupted, (130, 130), "nowcast train: interrupted"),
        (is_killed, (2, -9), "nowcast train: error: a process of 2 was lost"),
        (
            has_a_fault,
            (2, 2),
            "nowcast train: error: process 1 of 2 failed: IndexError: list index out of range",
        ),
        (is_terminated_before_it_began, (143, 143), "nowcast train: terminated"),
        (leaves_a_second_later, (143, 143), "nowcast train: terminated"),
        (first_is_killed, (-9, 2), "nowcast train: error: the first of 2 processes was lost"),
    ],
)
def test_whatever_ends_one_process_ends_both_with_one_line_and_one_exit_code(
    tmp_path, act, codes, line
):
    context, port = multiprocessing.get_context("fork"), free_port()
    two = [
        context.Process(target=one_of_two, args=(rank, port, act, tmp_path / "stderr"))
        for rank in range(2)
    ]
    for process in two:
        process.start()
    for process in two:
        process.join(200)
        process.kill()
    lines = (tmp_path / "stderr").read_text().splitlines()
    assert tuple(process.exitcode for process in two) == codes
    said = [text for text in lines if text.startswith("nowcast")]
    assert len(said) == 1 and said[0].startswith(line)
    assert ("Traceback (most recent call last):" in lines) == (act is has_a_fault)


def command(*arguments) -> list[str]:
    small = [
        "experiment=smoke",
        "training.accelerator=cpu",
        "training.devices=2",
        "training.batch_size=4",
        "model.hidden_channels=[4,4]",
        "evaluation.workers=0",
    ]
    return [
        sys.executable,
        "-m",
        "nowcast",
        "train",
        *(small if not any(item.startswith("resume=") for item in arguments) else []),
        *arguments,
    ]


def children(process: int) -> list[int]:
    """Processes that a process has started."""
    return [
        int(number)
        for task in Path(f"/proc/{process}/task").iterdir()
        for number in (task / "children").read_text().split()
    ]


@pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(),
    reason="there is no /proc to look for the processes of a process in",
)
def test_training_on_two_devices_as_typed_stops_on_sigterm_goes_on_and_is_evaluated(tmp_path):
    """SIGTERM is sent to the process that the command started; the command exits with 143, and says
    once what to type.
    """
    folder = tmp_path / "run"
    running = subprocess.Popen(
        command("training.max_epochs=500", f"output_dir={folder}"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    end = time.monotonic() + 400
    while (
        not (folder / "checkpoints" / "last.ckpt").exists()
        and running.poll() is None
        and time.monotonic() < end
    ):
        time.sleep(0.05)
    (other,) = children(running.pid)
    os.kill(other, signal.SIGTERM)
    output, errors = running.communicate(timeout=200)
    assert running.returncode == 143 and errors.splitlines() == ["nowcast train: terminated"]
    assert (
        output.count("go on with: nowcast train resume=run\n")  # as seen from where it was typed
        == output.count("run folder")
        == 1
    )
    assert not Path(f"/proc/{other}").exists()
    done = checkpoints.newest(folder / "checkpoints").epochs
    finished = subprocess.run(
        command(f"resume={folder}", f"training.max_epochs={done + 1}"),
        env=environment(),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=400,
    )
    assert finished.returncode == 0, finished.stderr
    assert (folder / "evaluation" / "scores.csv").is_file() and finished.stdout.count(
        "evaluation/scores.csv"
    ) == 1
    assert finished.stderr.strip() == ""


def test_a_signal_that_comes_while_a_lock_is_taken_stops_a_service_as_soon_as_it_is_free():
    """As ``threading.Event`` takes it, in `wait` and in `set`; called inside the signal, `stop`
    would wait for itself.
    """
    lock, stopped = threading.Lock(), threading.Event()

    def stop():
        with lock:
            stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        stopped.clear()
        before = signal.getsignal(number)
        with stopped_by_signals(stop):
            with lock:
                os.kill(os.getpid(), number)
                assert not stopped.wait(0.1)
            assert stopped.wait(5)
        assert signal.getsignal(number) is before


def test_python_code_trains_in_one_process(tmp_path):
    with pytest.raises(
        UserError,
        match="training.devices is 2: one process trains on one device. Use nowcast train",
    ):
        fit(
            Forecaster.from_settings(SETTINGS),
            None,
            loss=SquaredError(),
            settings=TrainingSettings(1, accelerator="cpu", devices=2),
            folder=tmp_path,
            seed=1,
        )


def test_more_processes_on_a_cpu_than_cores_are_refused():
    with pytest.raises(
        UserError,
        match=r"training.devices=99 would start 99 processes on the \d+ cores of this machine; "
        r"expected at most \d+",
    ):
        training_processes.device_count("cpu", 99)
    assert training_processes.device_count("cpu", 2) == 2
