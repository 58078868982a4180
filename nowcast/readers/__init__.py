"""Radar files of any service as `nowcast.types.frames.Frames`: one module for each format.

May import ``runtime`` and ``types`` alone. Read ``base`` first (what a reader is), then a short one
such as ``mch_gif``; ``auto`` finds the reader of a file by its content. ``cf`` has what NetCDF,
zarr and xarray share.

How to add a reader: write ``my_radar.py`` with a frozen dataclass that derives from `base.Reader`;
set ``format``, define ``recognises`` and ``read`` (``decoding`` turns stored numbers into rain
rates, ``forecasts`` refuses predicted fields, ``projection`` and ``axes`` help with the grid,
``limits`` with absurd sizes); name it in ``auto._BUILT_IN``; add ``conf/reader/my_radar.yaml`` with
its ``_target_`` and settings, and ``tests/test_reader_my_radar.py``, and a file of yours to
``tests/test_reader_recognition.py``. A reader in a package of your own derives from the same base;
``reader=NAME`` takes the YAML file in the package's ``conf/reader``, and ``reader=auto`` asks those
that the package's ``__init__`` imports (``runtime.plugins``; tests/plugin_example is a whole one).
"""
