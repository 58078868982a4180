"""The guarantees, by name, in the order in which they are tried."""

from nowcast.battery import learning

GUARANTEES = {
    "kill-and-resume": learning.kill_and_resume,
    "kills-while-saving": learning.kills_while_saving,
    "full-disk": learning.full_disk,
    "termination": learning.termination,
    "divergence": learning.divergence,
    "flushed-before-renamed": learning.flushed_before_renamed,
}
