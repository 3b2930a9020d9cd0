"""Gates: the conditions for a call, each a pure function of facts and a moment. Dispatch and explain use the same ones.

`codes` has the closed list of codes, and what a gate returns that does not pass. `of_batch`: what holds all contacts of
a batch. `of_contact`: what holds one contact. `room`: how many calls may still start under the limits that contacts
share. `messages`: one sentence for a gate that does not pass.
"""
