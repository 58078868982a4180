"""The guarantees, by name, in the order in which they are tried."""

from tests.battery import busy, foreign, learning, missing, operating, sampling
from tests.battery.stage import apart

GUARANTEES = {
    "kill-and-resume": learning.kill_and_resume,
    "kills-while-saving": learning.kills_while_saving,
    "full-disk": learning.full_disk,
    "termination": learning.termination,
    "divergence": learning.divergence,
    "flushed-before-renamed": learning.flushed_before_renamed,
    "mutated-files": foreign.mutated_files,
    "hostile-hdf5": foreign.hostile_hdf5,
    "hostile-models": foreign.hostile_models,
    "wrong-settings": foreign.wrong_settings,
    "missing-is-never-dry": missing.truth_table,
    "poison": missing.poison,
    "order-grids-names": missing.order_and_grids,
    "replay": operating.replay,
    "soak": apart(operating.soak),
    "publishing": operating.publishing,
    "grids": operating.grids,
    "busy-machine": busy.busy_machine,
    "processes": sampling.processes,
    "batches": sampling.batches,
    "larger-than-memory": apart(sampling.larger_than_memory),
}
