"""Training a model: losses, the loop on Lightning, checkpoints, resuming, comparing several models.

Read `loop` first (``fit``), then `module` (one step) and `losses` (the contract, and how to add a
loss of your own). The only folder that imports Lightning. It may import data, models, baselines,
the forecaster and the statistics of ``evaluation``; ``checkpoints`` and ``losses`` less, see
tests/test_layers.py. A setting of training.* is added to `settings.TrainingSettings`.
"""
