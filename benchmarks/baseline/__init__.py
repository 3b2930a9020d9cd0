"""The usual Celery design for calling a list of people, to compare Dialer with.

One task for each contact, a counter in Redis as the semaphore, a beat tick of one second, retries by countdown. It is
written as fairly as we can: one statement a step, only the final report of a call is handled, no ORM.
"""
