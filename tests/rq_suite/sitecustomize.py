"""Python runs this at the start of each process of RQ's suite: those of `rqworker` and of SpawnWorker too."""

import stand_ins

stand_ins.put_in_place()
