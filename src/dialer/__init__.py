"""Dialer: the engine that calls a list of people."""
