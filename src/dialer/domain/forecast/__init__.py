"""Forecast: the rules of dispatch on a virtual clock, many times over, with rates that are drawn at random. Pure.

chance        binomial, multinomial and Dirichlet draws
situation     the batch, its contacts in cohorts and its limits, as they are when the forecast is made
history       what earlier calls of the workspace say about outcomes and durations
assumptions   outcome shares and durations: given, from history, or the prior; with their uncertainty
hours         when the contacts of a lane may be called
virtual_run   one run of the batch from now to its end
forecast      many runs: when it ends, attempts per day, who is not reached, which limit binds
calibration   predicted ends beside true ones
"""
