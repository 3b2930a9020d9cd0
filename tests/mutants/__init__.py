"""Mutation testing: changes the source in one small way at a time, and runs the tests that should fail then.

The mutants are data, in the `.toml` files of this folder. `make mutants` runs all of them; docs/contributing.md says
how to add one.
"""
