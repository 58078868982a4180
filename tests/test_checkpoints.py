import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import OrderedDict

import pytest
import safetensors.torch
import torch

from nowcast.runtime.files import sha256_of
from nowcast.training import checkpoints


def content(step, *, size=1000, epoch=0, **more):
    progress = {
        "epoch_progress": {"current": {"processed": epoch}},
        "epoch_loop.batch_progress": {"current": {"processed": 3, "completed": 3}},
    }
    state = {
        "state_dict": OrderedDict(weight=torch.full((size,), float(step))),
        "global_step": step,
        "epoch": epoch,
        "loops": {"fit_loop": progress},
    }
    return state | more


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    last = (
        torch.arange(24, dtype=torch.float32)
        .reshape(2, 3, 2, 2)
        .to(memory_format=torch.channels_last)
    )
    saved = content(
        7,
        optimizer_states=[
            {
                "state": {0: {"exp_avg": last, "step": torch.tensor(7.0)}},
                "param_groups": [{"betas": (0.9, 0.999), "lr": 1e-3, "fused": None}],
            }
        ],
        callbacks={"best": {"score": torch.tensor(float("inf")), "path": "ü\n"}},
        epoch_so_far=[0.5, 2.0, 0],
        text=True,
    )
    checkpoints.save(saved, tmp_path / "last.ckpt")
    found = checkpoints.load(tmp_path / "last.ckpt")
    state = found["optimizer_states"][0]["state"][0]
    assert (
        torch.equal(state.pop("exp_avg"), last)
        and checkpoints.load(tmp_path / "last.ckpt")["optimizer_states"][0]["state"][0][
            "exp_avg"
        ].stride()
        == last.stride()
    )
    assert float(state["step"]) == 7 and found["optimizer_states"][0]["param_groups"] == [
        {"betas": (0.9, 0.999), "lr": 1e-3, "fused": None}
    ]
    assert (
        found["callbacks"]["best"] == {"score": torch.tensor(float("inf")), "path": "ü\n"}
        and found["text"] is True
    )
    assert torch.equal(found["state_dict"]["weight"], torch.full((1000,), 7.0))


def test_the_checkpoint_before_stays_and_the_manifest_knows_both(tmp_path):
    for step in (1, 2, 3):
        checkpoints.save(content(step), tmp_path / "last.ckpt")
    entries = json.loads((tmp_path / "manifest.json").read_text())["checkpoints"]
    assert [entry["step"] for entry in entries] == [3, 2, 1] and entries[0]["bytes"] == (
        tmp_path / "last.ckpt"
    ).stat().st_size
    assert [
        checkpoints.load(tmp_path / name)["global_step"] for name in ("last.ckpt", "previous.ckpt")
    ] == [3, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "last.ckpt",
        "manifest.json",
        "previous.ckpt",
    ]


def test_the_newest_whole_one_is_found_whatever_its_name(tmp_path):
    checkpoints.save(content(9), tmp_path / "best.ckpt")
    for step in (4, 5):
        checkpoints.save(content(step), tmp_path / "last.ckpt")
    assert checkpoints.newest(tmp_path).path.name == "best.ckpt"
    (tmp_path / "best.ckpt").unlink()
    assert checkpoints.newest(tmp_path).content["global_step"] == 5
    with (tmp_path / "last.ckpt").open("r+b") as file:
        file.seek(-20, os.SEEK_END)
        file.write(b"\x01")
    found = checkpoints.newest(tmp_path)
    assert (
        found.content["global_step"] == 4
        and "last.ckpt is damaged, or not of this run: its SHA-256 is not in manifest.json"
        in found.passed_over[0]
    )
    (tmp_path / "manifest.json").write_text("[")
    with pytest.raises(
        ValueError,
        match="has no checkpoint to resume from: .*last.ckpt is damaged.*previous.ckpt is damaged",
    ):
        checkpoints.newest(tmp_path)


def test_entries_of_a_manifest_that_make_no_sense_are_none(tmp_path):
    for step in (1, 2):
        checkpoints.save(content(step), tmp_path / "last.ckpt")
    path = tmp_path / checkpoints.MANIFEST
    entries = json.loads(path.read_text())
    entries["checkpoints"].append({"sha256": "0" * 64, "step": "x", "epoch": None})
    path.write_text(json.dumps(entries))
    assert checkpoints.newest(tmp_path).path.name == "last.ckpt"


def test_a_checkpoint_of_a_best_epoch_long_ago_stays_known(tmp_path):
    checkpoints.save(content(1), tmp_path / "best.ckpt")
    for step in range(2, 80):
        checkpoints.save(content(step, size=1), tmp_path / "last.ckpt")
    assert checkpoints.load(tmp_path / "best.ckpt")["global_step"] == 1
    assert len(json.loads((tmp_path / "manifest.json").read_text())["checkpoints"]) <= 33


def test_a_pickle_is_no_checkpoint_even_where_the_manifest_lists_it(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "last.ckpt")
    digest = sha256_of(tmp_path / "last.ckpt")
    (tmp_path / "manifest.json").write_text(
        json.dumps({"checkpoints": [{"sha256": digest, "step": 1, "epoch": 1}]})
    )
    with pytest.raises(ValueError, match="last.ckpt is no checkpoint of this nowcast"):
        checkpoints.load(tmp_path / "last.ckpt")


def test_a_checkpoint_of_another_kind_of_program_is_refused(tmp_path):
    content = safetensors.torch.save({"a": torch.zeros(2)}, {"nowcast_checkpoint": '{"zip": []}'})
    (tmp_path / "last.ckpt").write_bytes(content)
    (tmp_path / "manifest.json").write_text(
        json.dumps({"checkpoints": [{"sha256": hashlib.sha256(content).hexdigest()}]})
    )
    with pytest.raises(
        ValueError,
        match="last.ckpt is no checkpoint of this nowcast .ValueError: an unknown kind 'zip'",
    ):
        checkpoints.load(tmp_path / "last.ckpt")


def test_what_is_missing_says_so(tmp_path):
    with pytest.raises(ValueError, match="last.ckpt cannot be read: No such file"):
        checkpoints.load(tmp_path / "last.ckpt")


def test_what_is_no_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "last.ckpt")
    with pytest.raises(
        ValueError, match="last.ckpt is not a regular file; it cannot be a checkpoint"
    ):
        checkpoints.load(tmp_path / "last.ckpt")


def test_numbers_that_are_not_finite_never_reach_the_disk(tmp_path):
    checkpoints.save(content(1), tmp_path / "last.ckpt")
    with pytest.raises(
        ValueError,
        match="last.ckpt is not written: state_dict.weight contains numbers that are not finite",
    ):
        checkpoints.save(
            content(2) | {"state_dict": {"weight": torch.tensor([1.0, float("nan")])}},
            tmp_path / "last.ckpt",
        )
    with pytest.raises(
        ValueError, match="optimizer_states.0.m contains numbers that are not finite"
    ):
        checkpoints.save(
            content(2, optimizer_states=[{"m": torch.tensor([float("inf")])}]),
            tmp_path / "last.ckpt",
        )
    assert checkpoints.newest(tmp_path).content["global_step"] == 1


def test_what_a_checkpoint_cannot_hold_is_told(tmp_path):
    with pytest.raises(TypeError, match="a checkpoint cannot contain what: set"):
        checkpoints.save(content(1, what={1}), tmp_path / "last.ckpt")


def test_a_file_that_reads_back_otherwise_replaces_nothing(tmp_path, monkeypatch):
    checkpoints.save(content(1), tmp_path / "last.ckpt")
    monkeypatch.setattr(checkpoints, "sha256_of", lambda path: "0" * 64)
    with pytest.raises(ValueError, match="last.ckpt reads back otherwise than it was written"):
        checkpoints.save(content(2), tmp_path / "last.ckpt")
    monkeypatch.undo()
    assert checkpoints.newest(tmp_path).content["global_step"] == 1 and not list(
        tmp_path.glob(".*")
    )


def test_a_full_disk_leaves_the_one_before_and_says_how_much_is_needed(tmp_path):
    """A limit of the system on the size of files stands for the full disk: writing fails at that
    very byte.
    """
    checkpoints.save(content(1, size=10_000), tmp_path / "last.ckpt")
    ignored, limits = (
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
        resource.getrlimit(resource.RLIMIT_FSIZE),
    )
    try:
        for offset in (0, 100, 20_000, 40_000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (offset, limits[1]))
            with pytest.raises(
                ValueError,
                match=r"last.ckpt could not be written: File too large; 4\d,\d\d\d bytes are "
                r"needed in .*is intact: free some space",
            ):
                checkpoints.save(content(2, size=10_000), tmp_path / "last.ckpt")
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert checkpoints.newest(tmp_path).content["global_step"] == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not list(tmp_path.glob(".*"))


SAVING = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from test_checkpoints import content
from nowcast.training import checkpoints
from nowcast.runtime.files import sha256_of
torch.set_num_threads(1)
folder = Path({folder!r})
checkpoints.tidy(folder)
start = checkpoints.newest(folder).content["global_step"] if checkpoints.any_in(folder) else 0
print("ready", flush=True)
for step in range(start + 1, 100000):
    checkpoints.save(content(step, size=200_000), folder / "last.ckpt")
    print(step, flush=True)
"""


@pytest.mark.slow
def test_a_process_killed_while_it_saves_loses_nothing_it_said_was_saved(tmp_path):
    said = 0
    for moment in (0.0, 0.013, 0.029, 0.041):
        code = SAVING.format(tests=os.path.dirname(__file__), folder=str(tmp_path))
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n" and process.stdout.readline()
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        lines = process.stdout.read().split()
        process.wait()
        said = max([said, *map(int, lines)])
        found = checkpoints.newest(tmp_path)
        assert found.content["global_step"] >= said and found.passed_over == []
    checkpoints.tidy(tmp_path)
    assert not list(tmp_path.glob(".*"))
