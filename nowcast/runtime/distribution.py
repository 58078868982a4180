"""The name that this package is installed by, which is not the name that it is imported by.

On the package index ``nowcast`` is another project, a framework for time series.
"""

DISTRIBUTION = "nowcast-radar"
"""What pip knows this package as; ``import nowcast`` and the command ``nowcast`` stay."""


def install_hint(extra: str) -> str:
    """The command that installs what one of the optional extras needs.

    It serves whichever way nowcast itself was installed (from the index, a wheel or a checkout):
    pip keeps what is there, and adds the extra's packages.

    Args:
        extra: a name of ``[project.optional-dependencies]`` in pyproject.toml, e.g. "flow".
    """
    return f"pip install '{DISTRIBUTION}[{extra}]'"
