"""The audit: recomputes the promises in SQL from the ledger; a file of rules for each promise.

In: a connection, the current time and perhaps one batch. Out: the broken rules with the rows that break them. Nothing
is written, and no row of the ledger is read in Python.
"""

from dialer.store.audit.recompute import BrokenRule, extent, violations

__all__ = ["BrokenRule", "extent", "violations"]
