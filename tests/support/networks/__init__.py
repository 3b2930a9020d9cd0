"""Fake networks: each speaks the real protocol of one kind of network over the wire, in a test or as a process.

Behind each of them is the simulated network (`switch`), so that all can be told in the same words how to behave, and
keep a journal that the engine cannot see. What they say, and when, is that of recorded conversations with the real
servers where there are any. Run one as a process:
`python -m support.networks.NAME --port 5099 --journal FILE --profile JSON`.
"""
