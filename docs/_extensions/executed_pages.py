"""How the tutorials are executed: as somebody types them who has installed nowcast.

The commands are those of the environment that builds the site. One core each, so that a page takes
as long beside other work as alone; plain text of 80 columns, as in a pipe.
"""

import os
import sys
from pathlib import Path

import nbclient.client
from traitlets import Bool

_VARIABLES = {
    "OMP_NUM_THREADS": "1",
    "COLUMNS": "80",
    "TTY_COMPATIBLE": "0",  # against the FORCE_COLOR of Jupyter's kernels
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
}


class WholeStreams(nbclient.client.NotebookClient):
    """Joins the pieces in which the output of a command comes; myst-nb's own nb_merge_streams would
    break lines between them.
    """

    coalesce_streams = Bool(True)


def setup(app) -> dict:
    """Called by Sphinx."""
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    os.environ.update(_VARIABLES)
    nbclient.client.NotebookClient = WholeStreams
    return {"parallel_read_safe": True}
