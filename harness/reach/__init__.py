"""Machines: run a command, copy a file, open a socket, change a netdev, wherever they are.

``machine.Machine`` is the one interface; ``local`` reaches a namespace of ``sandbox``,
``ssh`` a real machine or a booted host VM, ``guest`` a guest through its agent. What changes
on a host is changed by ``agent``, which runs there and undoes what it made.

Import the modules. Neighbours: everything that acts uses this; it knows no topology.
"""
