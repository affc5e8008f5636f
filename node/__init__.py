"""The node itself: receive, assemble, queue, process, deliver, operate."""

import os

# Compiled threads that have nothing to do sleep. GNU OpenMP, which numba loads with the first parallel function, would
# let them spin: beside other processes a fit in two threads then takes 1.6 times as long as in one.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
