"""How long a test waits for a condition.

Usually it holds at once. The deadline is long because the machine may be busy; it only ends a test that would hang.
"""

DEADLINE_SECONDS = 90
