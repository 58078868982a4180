"""Where classes were that are now elsewhere: runs, archives and evaluations name them as of old.

What older versions wrote is read by today's names, at the place where a file is opened; nothing in
such a file is changed.
"""

_MOVED = (  # (name in an older file, today's), of classes and of the modules they were in
    ("nowcast.task.", "nowcast.types.task."),
    ("nowcast.transform.", "nowcast.types.transform."),
    ("nowcast.losses.", "nowcast.training.losses."),
    ("nowcast.evaluation.plan.Plan", "nowcast.evaluation.plan.EvaluationPlan"),
    ("nowcast.training.Training", "nowcast.training.settings.TrainingSettings"),
    ("nowcast.training.loop.Training", "nowcast.training.settings.TrainingSettings"),
    ("nowcast.verification.", "nowcast.evaluation.statistics."),
    ("nowcast.data.readers.arrays.ArrayGrid", "nowcast.readers.array_grid.ArrayGrid"),
    ("nowcast.readers.arrays.ArrayGrid", "nowcast.readers.array_grid.ArrayGrid"),
    ("nowcast.data.readers.", "nowcast.readers."),
    ("nowcast.operations.watch.", "nowcast.forecasting.watch."),
    ("nowcast.models.persistence.", "nowcast.baselines.persistence."),
    ("nowcast.models.dry.", "nowcast.baselines.dry."),
    ("nowcast.models.extrapolation.", "nowcast.baselines.extrapolation."),
    ("nowcast.models.advection.", "nowcast.baselines.advection."),
    ("nowcast.models.sprog.", "nowcast.baselines.sprog."),
    ("nowcast.models.anvil.", "nowcast.baselines.anvil."),
    ("nowcast.models.steps.", "nowcast.baselines.steps."),
    ("nowcast.models.linda.", "nowcast.baselines.linda."),
)


def renamed(target):
    """Today's name of a class, e.g. "nowcast.losses.SquaredError"; other values as they are."""
    if not isinstance(target, str):
        return target
    for old, new in _MOVED:
        if target.startswith(old):
            return new + target.removeprefix(old)
    return target


def with_todays_names(settings):
    """Settings as data, with today's name in every ``_target_``; a copy."""
    if isinstance(settings, list):
        return [with_todays_names(item) for item in settings]
    if not isinstance(settings, dict):
        return settings
    found = {}
    for key, value in settings.items():
        found[key] = renamed(value) if key == "_target_" else with_todays_names(value)
    return found
