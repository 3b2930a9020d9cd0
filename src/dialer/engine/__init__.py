"""The life of a call, one file a step. Each step is a plain function of its parts, its ids and `now`."""
