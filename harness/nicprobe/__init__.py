"""Where a NIC sends the frames for the MAC address of a virtual function, asked without a guest.

``walk`` takes a VF through the states of a failover (with and without address, with and
without driver, its filter closed) and counts numbered frames in each; ``judge`` is pure and
says from the counts whether the NIC can be used for a failover pair; ``text`` shows it.

Neighbours: ``harness.cli.nics`` reaches the machines; ``harness.lab.handoff`` is the
hand-over whose fence is tried here.
"""
