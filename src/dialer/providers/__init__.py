"""The ways to a telephone network. `base` is the contract; each package keeps it for one network."""
