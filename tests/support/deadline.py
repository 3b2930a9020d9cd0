"""How long a test waits for what must happen.

It happens at once, but the machine may be busy with other work: the deadline only ends a test that would wait for ever.
"""

DEADLINE_SECONDS = 90
