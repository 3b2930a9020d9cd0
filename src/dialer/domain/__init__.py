"""The rules of calling. Pure: no clock, no random numbers, no I/O; time and randomness come in as arguments."""
