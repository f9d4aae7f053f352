"""The avocado plugin: ``avocado run testcases/`` runs cases as ``harness run`` does.

* ``resolver``: a case file is a test per topology, ``testcases/migrate.yaml:flat``.
* ``runner``: runs such a test by ``harness run`` in a process of its own, and tells avocado.
* ``job``: one lab at a time, and time for a lab to go down, unless the user says otherwise.
* ``variant``: the parameters of avocado's varianter to options of ``harness run``.

avocado loads these by entry points (see pyproject.toml); nothing here decides or measures.
"""
