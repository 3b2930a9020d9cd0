"""Mutation run: small faults are put into the source one at a time, and the tests that should notice them are run.

The faults are data, in the `.toml` files of this folder. `make mutants` runs all; docs/contributing.md says how to add
one.
"""
