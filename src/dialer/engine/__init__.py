"""The life of a call, one file for each step. A step is a plain function of its context, its ids and `now`."""
