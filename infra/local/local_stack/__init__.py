"""`make run`: the whole system on one machine, with everything AWS emulated."""
