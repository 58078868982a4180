"""Commands on radar files and archives: convert, info, check."""

import os
import sys
from pathlib import Path

from nowcast.cli.common import files_and_settings, plain_or_shown, print_line
from nowcast.data import checking, conversion, inspection
from nowcast.data.archive import Archive
from nowcast.data.inputs import expand_inputs
from nowcast.data.preparation import Preparation
from nowcast.data.reading import ReadingProcess, in_order, opened_inputs
from nowcast.data.tolerant import Tolerant
from nowcast.data.unpacking import Unpacking
from nowcast.output.contents import Contents
from nowcast.runtime.build import build_part, is_of_type
from nowcast.runtime.errors import UserError
from nowcast.runtime.progress import counted
from nowcast.types.task import Task

_TYPES = {"clip": float | None, "workers": int | None, "strict": bool, "replace": bool}


def convert(arguments: list[str]) -> None:
    """Turn radar files into one archive, or add them to it."""
    settings = plain_or_shown("convert", arguments)
    if settings is None:
        return
    output = _netcdf_path(settings["output"])
    for name, hint in _TYPES.items():
        if not is_of_type(settings[name], hint):
            raise UserError(
                f"{name} is {settings[name]!r}; see conf/convert.yaml for what is accepted."
            )
    paths = [
        path for path in expand_inputs(settings["input"]) if not conversion.is_own(path, output)
    ]
    prepare = Preparation(
        settings["reader"],
        settings["clip"],
        build_part(settings, "regrid"),
        build_part(settings, "tolerance"),
    )
    workers = settings["workers"]
    files = len(paths)  # more where these are archives of files, as is known when they are opened
    with counted("reading", files) as shown:

        def progress(done: int, total: int) -> None:
            nonlocal files
            files = total
            shown(done, total)

        summary = conversion.convert(
            paths,
            output,
            reader=build_part(settings, "reader"),
            prepare=prepare,
            workers=(os.cpu_count() or 1) if workers is None else workers,
            strict=settings["strict"],
            replace=settings["replace"],
            progress=progress,
        )
    done = "wrote" if summary.added else "nothing new for"
    print_line(f"{done} {summary}\n{inspection.info(output)}")
    if summary.quarantine:
        _, reason = summary.quarantine[0]
        sys.stderr.write(
            f"nowcast convert: {len(summary.quarantine)} of {files} files could not be read and "
            f"are listed in {summary.report}; the first: {reason}\n"
        )


def info(arguments: list[str]) -> None:
    """Say what an archive or a radar file holds."""
    files, rest = files_and_settings("info", arguments, "data/knmi.nc")
    settings = plain_or_shown("info", rest, beside={"input": str(files[0])} if files else None)
    if settings is None:
        return
    tolerance, reader = build_part(settings, "tolerance"), build_part(settings, "reader")
    paths = files if files[0].is_file() else expand_inputs(files[0])
    inputs = opened_inputs(paths)
    several = len(paths) > 1 or bool(inputs.containers)
    chosen = Tolerant(reader, tolerance) if several else Contents(reader, tolerance)
    with ReadingProcess(Unpacking(chosen, inputs.refused)) as process:
        if several:
            results = in_order(inputs.paths, process)
            print_line(inspection.info_of_files(files[0], results, tolerance))
        else:
            print_line(process.read(paths[0]))


def check(arguments: list[str]) -> None:
    """Say what in an archive asks for a second look."""
    files, rest = files_and_settings("check", arguments, "data/knmi.nc")
    settings = plain_or_shown("check", rest)
    if settings is None:
        return
    with Archive(files[0]) as archive:
        timestep = (
            checking.common_minutes(archive.times, archive.tolerance)
            if settings["timestep"] is None
            else settings["timestep"]
        )
    task = Task(settings["context_length"], settings["forecast_length"], timestep)
    print_line(
        checking.check(
            files[0],
            task,
            validation_from=settings["validation_from"],
            test_from=settings["test_from"],
        )
    )


def _netcdf_path(output: str) -> Path:
    path = Path(output)
    if path.suffix != ".nc":
        raise UserError(f"output is {output!r}; a file name that ends in .nc is needed.")
    return path
