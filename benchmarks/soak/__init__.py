"""A steady load with random faults for an hour: what grows? One file for each part of the run."""
