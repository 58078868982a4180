"""Figures of matplotlib as objects: no window, no global state, safe in threads and loops."""

import io
from functools import cache
from pathlib import Path

from nowcast.runtime.environment import loaded_without
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import replacing

DPI = 120

# Okabe and Ito 2008: distinguished by eyes with any colour blindness; markers and
# dashes serve in print.
_LINE_STYLES = [
    ("#0072B2", "o", "-"),
    ("#D55E00", "s", "--"),
    ("#009E73", "^", "-."),
    ("#CC79A7", "D", ":"),
    ("#000000", "v", "-"),
    ("#56B4E9", "P", "--"),
    ("#E69F00", "X", "-."),
    ("#7F7F7F", "*", ":"),
]


def new_figure(width: float, height: float, **options):
    """An empty white ``matplotlib.figure.Figure`` of so many inches, which a notebook shows."""
    # a backend that the environment names, e.g. of a notebook, may not be installed here
    loaded_without("matplotlib", "MPLBACKEND")
    return _figure_class()(figsize=(width, height), dpi=DPI, facecolor="white", **options)


@cache
def _figure_class() -> type:
    """Matplotlib's figure, which also a notebook that never loaded pyplot shows as a picture."""
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        def _repr_png_(self) -> bytes:
            content = io.BytesIO()
            self.savefig(content, format="png")
            return content.getvalue()

    return ShownFigure


def save(figure, path: str | Path) -> None:
    """Write a figure as a PNG file, whole or not at all.

    Raises:
        UserError: the path ends as that of another kind of picture.
    """
    if Path(path).suffix.lower() not in (".png", ""):
        raise UserError(f"{path} is not the name of a PNG file; expected one that ends in .png.")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def line_style(index: int) -> dict[str, str]:
    """Colour, marker and dashes of the line with this number, as arguments of ``plot``."""
    colour, marker, dashes = _LINE_STYLES[index % len(_LINE_STYLES)]
    return {"color": colour, "marker": marker, "linestyle": dashes}
