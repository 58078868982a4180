"""Memory that was freed is used again instead of being taken from the system anew."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from nowcast.runtime.memory import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else False
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for step in range(15):
    if step == 10:
        before = faults()
    torch.ones(25_000_000)
    torch.ones(10_000_000)
print(int(kept), faults() - before)
"""


def run(how):
    return [
        int(word)
        for word in subprocess.run(
            [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True
        ).stdout.split()
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can be told to")
def test_blocks_of_100_megabytes_are_paged_in_once():
    """100 MB are 24,414 pages of 4 KiB (fewer, where the system gives larger ones); once settled,
    five more blocks take them all again, or none.
    """
    kept, faults = run("keep")
    if not kept:
        pytest.skip("another C library than glibc")
    assert faults < 500 < run("as ever")[1]
