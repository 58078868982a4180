"""Settings of the whole suite, made before any test is imported."""

import os

# Tests run in a process for each core, on small tensors: threads beside them would only wait for each other. Processes that tests start follow.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
