"""Declarative end-to-end tests of virtual machines whose network fails over and migrates.

One way through: topology file -> validated model -> plan -> running lab -> scenario
(a migration under traffic) -> observations -> verdict -> report. ``docs/architecture.md``
says which room does what and what it may import.
"""

__version__ = "0.1.0"
