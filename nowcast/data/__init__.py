"""Radar files into archives, archives into cases, cases into batches; and data that is generated.

Imports ``runtime``, ``types`` and ``readers`` alone. Read ``base`` first: it says what a data set
is; then ``conversion`` (files into an archive), ``archive`` and ``radar`` (an archive into cases)
and ``sampling``, the only place numpy becomes torch.

**To add a data set**, write in your own package a `DataSet` whose ``part`` returns `Cases`, with
physical values and NaN for what was not observed, and a file conf/data/NAME.yaml that names it::

    from nowcast.data.base import Cases, DataSet

    class Lightning(DataSet):
        def __init__(self, task, seed, folder):
            self.task, self.seed, self.folder = task, seed, folder

        def part(self, name):  # "train", "validation" or "test"
            return Flashes(self, name)

    class Flashes(Cases):
        def __len__(self): ...
        def case(self, epoch, index): ...  # (context + forecast length, H, W) float32

        # where cases have them: scale, analysis_time, source, size_of, grid_of, stride_hours

    # @package _global_
    observed_channel: true  # both are read by nowcast's networks: is the mask a second channel,
    output_bias: -3.0       # and where does the last layer's bias begin (most pixels are dry)
    defaults: [/task: radar, /transform: log_rain_rate, /loss: weighted_error, /scores: rain,
               /model: convlstm_small, /baselines: persistence]
    data: {_target_: yours.Lightning, task: "${task}", seed: "${seed}", folder: ???}
"""
