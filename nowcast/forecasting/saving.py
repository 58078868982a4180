"""The run folder of a trained model: forecaster.json, what it is made of, and model.safetensors.

No code of a folder is ever run: classes are named, and must be installed.
"""

import json
import shlex
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

import nowcast
from nowcast.runtime.errors import UserError, first_line
from nowcast.runtime.file_kinds import head_of, kind_of_content
from nowcast.runtime.files import replacing
from nowcast.runtime.plugins import plugins_named_in, refuse_missing
from nowcast.runtime.renamed import with_todays_names
from nowcast.runtime.unreadable import os_error
from nowcast.training import checkpoints

FORMAT = 1  # of the run folder; raised when an older nowcast could misread it
SETTINGS_FILE, WEIGHTS_FILE = "forecaster.json", "model.safetensors"
PARTS = ("task", "transform", "model")
_DIGEST = "weights_sha256"
_LARGEST_SETTINGS = 2**20  # bytes


@dataclass(frozen=True)
class SavedRun:
    """What a run folder contains.

    Args:
        settings: of ``PARTS``, and how they were saved.
        weights: tensors by name.
        path: of the weights.
    """

    settings: dict
    weights: dict[str, Tensor]
    path: Path

    @property
    def precision(self) -> str:
        """The run's own setting; float32 where it is older than that setting."""
        return self.settings.get("precision", "float32")

    def load_into(self, model: torch.nn.Module) -> None:
        """Give a model the weights.

        Raises:
            UserError: they are of another model.
        """
        try:
            model.load_state_dict(self.weights)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{self.path} does not belong to the model in {SETTINGS_FILE} ({reason})."
            ) from error


def write_run(folder: Path, model: torch.nn.Module, settings: dict, precision: str) -> None:
    """Write forecaster.json and model.safetensors.

    Args:
        folder: that exists or is made.
        model: whose weights are written.
        settings: of ``PARTS``.
        precision: see ``Forecaster``.

    Raises:
        UserError: weights that are not finite, or a folder that cannot be written to.
    """
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    _refuse_nonfinite(weights, folder / WEIGHTS_FILE)
    content = safetensors.torch.save(weights)
    saved = {
        "format": FORMAT,
        "nowcast": nowcast.__version__,
        _DIGEST: sha256(content).hexdigest(),
        "precision": precision,
        "plugins": plugins_named_in(settings),
        **settings,
    }
    with replacing(folder / WEIGHTS_FILE) as path:
        path.write_bytes(content)
    with replacing(folder / SETTINGS_FILE) as path:
        path.write_text(json.dumps(saved, indent=2) + "\n", encoding="utf-8")


def read_run(folder: Path) -> SavedRun:
    """Read a run folder.

    Raises:
        UserError: not a run folder, one of another version, one that needs a plug-in that is not
            installed, or a damaged one.
    """
    settings, path = _read_settings(folder), folder / WEIGHTS_FILE
    refuse_missing(settings.get("plugins", {}), f"the run {folder}")
    weights, digest = _read_weights(path)
    if settings.get(_DIGEST) not in (None, digest):  # None: of a nowcast that did not note it
        raise UserError(
            f"{path} is damaged, or not the file that {SETTINGS_FILE} was written for: it "
            f"has another SHA-256. Restore it{_or_resume(folder)}."
        )
    _refuse_nonfinite(weights, path)
    return SavedRun(settings, weights, path)


def _read_settings(folder: Path) -> dict:
    path = folder / SETTINGS_FILE
    if not path.is_file():
        raise UserError(
            f"{folder} is not a finished run folder: it contains no {SETTINGS_FILE}. Give the "
            f"folder that `nowcast train` printed{_or_resume(folder)}."
        )
    try:
        if path.stat().st_size > _LARGEST_SETTINGS:
            raise ValueError(f"it is over {_LARGEST_SETTINGS} bytes long")
        settings = with_todays_names(json.loads(path.read_text(encoding="utf-8")))
        version = settings["format"]
    except OSError as error:
        raise os_error(path, error) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        found = kind_of_content(head_of(path))
        if found is not None and found.is_never_data:
            raise UserError(f"{path} is {found.what}: {found.advice}.") from error
        raise UserError(f"{path} is damaged ({error}).") from error
    if version != FORMAT:
        raise UserError(
            f"{folder} was written in run format {version!r} by nowcast "
            f"{settings.get('nowcast')}, but nowcast {nowcast.__version__} "
            f"reads format {FORMAT}; use the nowcast that wrote it, or train again."
        )
    missing = [name for name in PARTS if not isinstance(settings.get(name), dict)]
    if not isinstance(settings.get("plugins", {}), dict):
        missing.append("plugins")
    if missing:
        raise UserError(f"{path} is damaged: it lacks {', '.join(missing)}.")
    return settings


def _read_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """Tensors by name, and the SHA-256 of the file."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a regular file; it cannot contain weights.")
    try:
        content = path.read_bytes()
        return safetensors.torch.load(content), sha256(content).hexdigest()
    except FileNotFoundError as error:
        raise UserError(
            f"{path} cannot be read as weights: it is not there. Restore it"
            f"{_or_resume(path.parent)}."
        ) from error
    except OSError as error:
        raise os_error(path, error) from error
    except safetensors.SafetensorError as error:
        found = kind_of_content(head_of(path))
        wrong = first_line(error) if found is None else f"it is {found.what}: {found.advice}"
        raise UserError(
            f"{path} cannot be read as weights ({wrong}); restore the file, or train again into "
            "another folder."
        ) from error


def _refuse_nonfinite(weights: dict[str, Tensor], path: Path) -> None:
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise UserError(
                f"{path}: the weights {name} contain numbers that are not finite; such a model is "
                "neither saved nor used. Train again with a lower training.learning_rate."
            )


def _or_resume(folder: Path) -> str:
    """What else can be done with a run that is not finished, or not whole: only where there is a
    checkpoint to go on with.
    """
    if not checkpoints.any_in(folder / checkpoints.FOLDER):
        return ""
    return f", or finish this run with: {shlex.join(['nowcast', 'train', f'resume={folder}'])}"
