"""The ways to a telephone network. `base` is the contract; each other module keeps it for one network."""
