"""Checkpoints that are proven before they replace anything, and found again whatever happened.

A checkpoint is one safetensors file: its tensors, and everything else as JSON in the header.
Nothing in it can run code. It is written beside its target, flushed, read back, entered in the
folder's manifest by the SHA-256 of its bytes, and only then renamed; the one it replaces stays as
``previous.ckpt``. A file whose SHA-256 is not in the manifest is no checkpoint: it is damaged, or
not of this folder.
"""

import hashlib
import json
import math
import os
import re
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import safetensors.torch
import torch

from nowcast.runtime.errors import Unavailable, UserError, first_line
from nowcast.runtime.file_kinds import HEAD, kind_of_content
from nowcast.runtime.files import leftovers, replacing, sha256_of
from nowcast.runtime.unreadable import os_error

FOLDER = "checkpoints"
"""Name of their folder in that of a run."""

LAST, PREVIOUS, BEST, MANIFEST = "last.ckpt", "previous.ckpt", "best.ckpt", "manifest.json"
_ENTRY = "nowcast_checkpoint"  # of the header's metadata
_TENSOR, _ITEMS, _TUPLE = "tensor", "items", "tuple"  # in JSON for what JSON does not know
_KEPT = 32  # entries of a manifest
# what reading a file raises that is whole, but of another program or version
_NOT_OURS = (safetensors.SafetensorError, ValueError, KeyError, TypeError, RuntimeError)
_LARGEST_MANIFEST = 2**20  # bytes


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that is whole.

    Args:
        path: its file.
        content: what was saved: the state of a training.
        passed_over: newer files that are not whole, a sentence each.
    """

    path: Path
    content: dict
    passed_over: list[str]

    @property
    def epochs(self) -> int:
        """Whole epochs that lie behind it."""
        return self.content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]

    @property
    def batches(self) -> int:
        """Batches of the epoch begun that lie behind it; 0 at the end of an epoch."""
        progress = self.content["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        return progress["processed"] if progress["completed"] < progress["processed"] else 0


def save(content: dict, path: str | Path) -> None:
    """Write a checkpoint; the one that lies there is replaced once the new one is proven.

    Of ``last.ckpt`` it becomes ``previous.ckpt``.

    Args:
        content: numbers, text, None, lists, tuples, dictionaries and tensors, in one another.
        path: the file.

    Raises:
        UserError: a tensor with numbers that are not finite, a full disk, a folder that cannot be
            written to, or a file that reads back otherwise than it was written. What lay there
            before is intact then.
    """
    path = Path(path)
    tensors: dict[str, torch.Tensor] = {}
    rest = json.dumps(_without_tensors(content, tensors, ""))
    _refuse_nonfinite(tensors, path)
    written = safetensors.torch.save(tensors, {_ENTRY: rest})
    digest = hashlib.sha256(written).hexdigest()
    try:
        with replacing(path) as temporary:
            with temporary.open("wb") as file:
                file.write(written)
                file.flush()
                os.fsync(file.fileno())
            if sha256_of(temporary) != digest:
                raise UserError(
                    f"{path} reads back otherwise than it was written; the disk or the memory is "
                    "faulty. The checkpoint before it is intact."
                )
            # before the rename: a file that lies here must always be found in the manifest
            _enter(path, digest, len(written), content)
            # a second name, not a rename: at no moment is there no checkpoint
            if path.name == LAST and path.exists():
                with replacing(path.with_name(PREVIOUS)) as link:
                    link.unlink()
                    _link(path, link)
    except UserError as error:
        if isinstance(error.__cause__, OSError):
            raise UserError(
                f"{str(error).rstrip('.')}; {len(written):,} bytes are needed in {path.parent}. "
                "The checkpoint before it is intact: free some space, and go on with resume."
            ) from error
        raise


def load(path: str | Path) -> dict:
    """The content of a checkpoint.

    Raises:
        UserError: it is missing, not in the manifest, or damaged.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a regular file; it cannot be a checkpoint.")
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except OSError as error:
        raise os_error(path, error) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest not in [entry["sha256"] for entry in _manifest(path.parent)]:
        found = kind_of_content(content[:HEAD])
        if found is not None and found.is_never_data:
            raise UserError(f"{path} is {found.what}: {found.advice}.")
        raise UserError(
            f"{path} is damaged, or not of this run: its SHA-256 is not in {MANIFEST} beside it."
        )
    try:
        length = int.from_bytes(content[:8], "little")
        rest = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][_ENTRY])
        return _with_tensors(rest, safetensors.torch.load(content))
    except _NOT_OURS as error:
        reason = f"{type(error).__name__}: {first_line(error)[:200]}"
        raise UserError(f"{path} is no checkpoint of this nowcast ({reason}).") from error


def newest(folder: str | Path) -> Checkpoint:
    """The newest checkpoint of a folder that is whole.

    Raises:
        UserError: there is none; the sentence says what is wrong with each.
    """
    folder, reasons, unavailable = Path(folder), [], False
    manifest = {entry["sha256"]: entry for entry in _manifest(folder)}
    found = []
    for path in (folder / name for name in (LAST, PREVIOUS, BEST)):
        if not path.is_file():
            continue
        try:
            entry = manifest.get(sha256_of(path))
        except UserError as error:  # one that cannot be read now; another one may be
            reasons.append(str(error))
            unavailable = True
            continue
        step = (math.inf, 0)  # those that are not in the manifest come first, and are reported
        if entry is not None:
            step = entry.get("step", -1), entry.get("epoch", -1)
        found.append((step, path))
    for _, path in sorted(found, key=itemgetter(0), reverse=True):
        try:
            return Checkpoint(path, load(path), reasons)
        except UserError as error:
            reasons.append(str(error))
            unavailable |= isinstance(error, Unavailable)
    if unavailable:
        raise Unavailable(
            f"no checkpoint of {folder} can be read now: {' '.join(reasons)} Nothing is known to "
            "be lost; resume when they can be read."
        )
    why = ": " + " ".join(reasons) if reasons else ""
    raise UserError(f"{folder} has no checkpoint to resume from{why}; start anew without resume.")


def any_in(folder: str | Path) -> bool:
    """Whether a folder contains checkpoints, whole or not."""
    return any((Path(folder) / name).is_file() for name in (LAST, PREVIOUS, BEST))


def tidy(folder: str | Path) -> None:
    """Remove what a process that was killed left half-written."""
    for name in (LAST, PREVIOUS, BEST, MANIFEST):
        for path in leftovers(Path(folder) / name):
            path.unlink(missing_ok=True)


def _refuse_nonfinite(tensors: dict[str, torch.Tensor], path: Path) -> None:
    for name, tensor in tensors.items():
        # others, such as the best score so far, may be infinite
        is_state = name.startswith(("state_dict", "current_model_state", "optimizer_states"))
        if is_state and tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise UserError(
                f"{path} is not written: {name} contains numbers that are not finite. The "
                "checkpoint before it is intact; try a lower training.learning_rate."
            )


def _without_tensors(value, tensors: dict[str, torch.Tensor], name: str):
    """What JSON can contain of a value; its tensors are put into a dictionary."""
    if isinstance(value, torch.Tensor):
        # a copy: safetensors refuses tensors that share memory
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {_TENSOR: [name, value.stride()]}
    if isinstance(value, dict):
        prefix = f"{name}." if name else ""
        items = value.items()
        return {_ITEMS: [[k, _without_tensors(v, tensors, f"{prefix}{k}")] for k, v in items]}
    if isinstance(value, (list, tuple)):
        items = [_without_tensors(v, tensors, f"{name}.{index}") for index, v in enumerate(value)]
        return {_TUPLE: items} if isinstance(value, tuple) else items
    if isinstance(value, str):
        return str(value)  # also of a class derived from it
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise TypeError(f"a checkpoint cannot contain {name}: {type(value).__name__}")


def _with_tensors(value, tensors: dict[str, torch.Tensor]):
    """The opposite of ``_without_tensors``.

    Tensors lie in memory as they lay, which fused optimisers rely on.
    """
    if isinstance(value, list):
        return [_with_tensors(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, inside),) = value.items()
    if kind == _TENSOR:
        name, strides = inside
        return _laid(tensors[name], strides)
    if kind == _TUPLE:
        return tuple(_with_tensors(item, tensors) for item in inside)
    if kind != _ITEMS:
        raise ValueError(f"an unknown kind {kind!r}")
    return {key: _with_tensors(item, tensors) for key, item in inside}


def _laid(tensor: torch.Tensor, strides: list[int]) -> torch.Tensor:
    """A tensor with its axes in memory in the order of these strides."""
    if list(tensor.stride()) == strides:
        return tensor
    order = sorted(range(tensor.ndim), key=lambda axis: (-strides[axis], axis))
    return torch.empty_permuted(tensor.shape, order, dtype=tensor.dtype).copy_(tensor)


def _manifest(folder: Path) -> list[dict]:
    """The entries of a folder's manifest, the newest first; none where it is missing or damaged.

    Raises:
        Unavailable: it is there and cannot be read now; without it, checkpoints that are whole
            would be taken for damaged ones.
    """
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _LARGEST_MANIFEST:
            return []
        entries = json.loads(path.read_text(encoding="utf-8"))["checkpoints"]
        return list(filter(_makes_sense, entries))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise os_error(path, error) from error
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


def _makes_sense(entry: dict) -> bool:
    """Whether an entry of a manifest can be one."""
    numbers = entry.get("step", -1), entry.get("epoch", -1)
    has_digest = re.fullmatch("[0-9a-f]{64}", entry["sha256"]) is not None
    return has_digest and all(isinstance(number, int) for number in numbers)


def _enter(path: Path, digest: str, size: int, content: dict) -> None:
    """Put a checkpoint on top of its folder's manifest; entries of files that are there stay."""
    old = [entry for entry in _manifest(path.parent) if entry["sha256"] != digest]
    entry = {
        "file": path.name,
        "sha256": digest,
        "bytes": size,
        "epoch": content.get("epoch"),
        "step": content.get("global_step"),
    }
    best = [entry for entry in old if entry.get("file") == BEST][:1]
    kept = old[: _KEPT - 1]
    entries = [entry, *kept, *(found for found in best if found not in kept)]
    with replacing(path.with_name(MANIFEST)) as temporary:
        text = json.dumps({"checkpoints": entries}, indent=2)
        temporary.write_text(text + "\n", encoding="utf-8")


def _link(path: Path, link: Path) -> None:
    """A second name for a file; where the file system knows no such thing, a copy."""
    try:
        os.link(path, link)
    except OSError:
        link.write_bytes(path.read_bytes())
