"""Numbered packets sent and captured at the lab's edges; what they leave are records.

``stream`` what is sent; ``frames`` ready frames from scapy; ``client`` starts and stops
``sender`` and ``capture``, two programs that run inside a namespace; ``guestlink`` speaks to
labprobe in a guest; ``records`` and ``pcapng`` are the files. ``tcpclient``, ``tcp`` and
``tcprecord`` are the same for a checked TCP stream. Nothing here judges: ``harness.measure``
counts.

Import the modules: the programs start in a tenth of a second because this package does
not load scapy and numpy for them. Neighbours: ``scenario`` drives it.
"""
