"""Evaluation: forecasts of models, baselines and other systems against observations, over the same
pixels, in several processes, with intervals.

It may import what ``tests/test_layers.py`` names above it: statistics, data, baselines, the
forecaster. Read ``running`` first: a *source* gives batches of cases with forecasts, ``batches``
adds the baselines and sums, ``results`` makes scores and intervals of the sums, ``tables``,
``score_files`` and ``summary_scores`` show them.

To add a score see ``nowcast.evaluation.statistics``; to evaluate forecasts from somewhere else,
derive from ``source.ForecastSource``.
"""
