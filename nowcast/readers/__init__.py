"""Radar files of any service as `nowcast.types.frames.Frames`: one module for each format.

May import ``runtime`` and ``types`` alone. Read ``base`` first (what a reader is), then a short one
such as ``mch_gif``; ``auto`` finds the reader of a file by its content.

How to add a reader: write ``my_radar.py`` with a frozen dataclass that derives from `base.Reader`;
set ``format``, define ``recognises`` and ``read`` (``decoding`` turns stored numbers into rain
rates, ``forecasts`` refuses predicted fields, ``projection`` and ``axes`` help with the grid);
name it in ``auto._BUILT_IN``; add ``conf/reader/my_radar.yaml`` with its ``_target_`` and settings,
and ``tests/test_reader_my_radar.py``. One of another package is passed on by `auto.other_readers`.
"""
