"""Forecasts on disk: what they are written as, where they say they come from, what a file has.

Read ``base`` first: ``Writer`` says what a format is, and ``writers`` has the table of them by
suffix. This room may import readers, data and forecast products, but no model and no command.

To add a format: write a module with a function ``write_NAME(forecast, path, *, attributes)`` as
``base.WriteForecast`` describes it (take its attributes from ``origin.file_attributes``, let the
file appear by ``runtime.files.replacing``), name it and what it can carry in a ``Writer``, and add
that to ``writers.ALL``. The suffixes are accepted by predict and watch from then on; a test in
``tests/test_writers.py`` writes and reads every one of them.
"""
