"""The promises, recomputed in SQL from what the ledger says; one file a promise.

In come a connection, the present and perhaps one batch; out come the broken rules with the rows that break them.
Nothing is written, and no row of the ledger is looked at in Python.
"""

from dialer.store.audit.recompute import Violation, extent, violations

__all__ = ["Violation", "extent", "violations"]
