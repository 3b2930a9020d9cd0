"""Measures Dialer on this machine, for `dialer bench`: one module a figure.

In: the names of figures and a size. Out: a table for each figure, and the same as JSON. Every figure starts what it
needs (its own Postgres and Valkey on loopback, real processes, a simulated network), and audits what it has done.
"""
