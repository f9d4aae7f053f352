"""Cases as tests: a YAML file is collected, each of its topologies is an item (with
``--matrix``: in every cell).

The run is the item's set-up and the verdict its call, so that pytest tells the two apart: a
lab that broke is an error, what the run shows of the guest is a pass or a failure.

Neighbours: ``harness.scenario`` carries out, ``harness.report`` judges; as in ``harness run``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from harness.case import BoundCase, Case, Scalar, bind, load_case, parse_settings
from harness.errors import EXIT_CANNOT_TELL, HarnessError, InputError, RecordError
from harness.images import Store
from harness.lab import Lab, Progress
from harness.matrix import Known, bind_cells, known_failure
from harness.pytest_plugin.choosing import choices_of, matrix_of
from harness.pytest_plugin.keeping import hold
from harness.pytest_plugin.places import marks_for, name_for, run_dir_for, told
from harness.record import RunDir
from harness.report import judge_run, reasons, render, result_of, write_reports
from harness.scenario import begin_record, make_lab, run_case
from harness.scenario.service import LabService
from harness.verdict import Outcome


class CaseFile(pytest.File):
    """A case file; a file that is none is a collection error that shows its problems."""

    def collect(self) -> Iterator[CaseItem]:
        try:
            settings = parse_settings(self.config.getoption("case_set"))
            case = load_case(self.path, shown_as=_shown(self.path, self.config))
            wanted = self.config.getoption("case_variant")
            variants = [name for name in case.variants if not wanted or name in wanted]
            runs = self._runs(case, variants, settings)
        except InputError as error:
            raise self.CollectError(str(error)) from None
        for name, bound, known, excluded in runs:
            item: CaseItem = CaseItem.from_parent(
                self, name=name, bound=bound, settings=settings, known=known
            )
            for mark in marks_for(bound.topology):
                item.add_marker(mark)
            if bound.about.slow:
                item.add_marker("slow")
            if bound.about.group is not None:
                item.add_marker(bound.about.group)
            if excluded:
                item.add_marker(pytest.mark.skip(reason=f"excluded: {excluded}"))
            yield item

    def _runs(
        self, case: Case, variants: list[str], settings: Mapping[str, Scalar]
    ) -> list[tuple[str, BoundCase, Known | None, str]]:
        """Name, case, what is known of the cell, and why it is not run."""
        choices, matrix = choices_of(self.config), matrix_of(self.config)
        if matrix is None or not variants:
            every = [bind(case, one, settings=settings, choices=choices) for one in variants]
            return [(bound.variant, bound, None, "") for bound in every]
        runs: list[tuple[str, BoundCase, Known | None, str]] = [
            (one.id, one.bound, matrix.known_of(one.cell), "")
            for one in bind_cells(case, matrix, variants, settings, choices)
        ]
        for one in matrix.excluded:
            on = [name for name in variants if one.cell.variant in (None, name)]
            # The cell itself need not fit the topology: that may be why it is excluded.
            plain = [bind(case, variant, settings=settings) for variant in on]
            runs += [(f"{b.variant}[{one.cell.id}]", b, None, one.reason) for b in plain]
        return runs


def _shown(path: Path, config: pytest.Config) -> str:
    """The file as a user would name it."""
    return str(path.relative_to(config.rootpath) if path.is_relative_to(config.rootpath) else path)


class CaseItem(pytest.Item):
    """A case on one topology."""

    def __init__(
        self,
        *,
        name: str,
        parent: pytest.Collector,
        bound: BoundCase,
        settings: Mapping[str, Scalar],
        known: Known | None = None,
    ) -> None:
        super().__init__(name, parent)
        self._known = known
        self.bound = bound
        self._settings = dict(settings)
        self._run_dir: RunDir | None = None

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.path.name}::{self.name}"

    def setup(self) -> None:
        """Run the case: lab up, traffic, steps, lab down, its clean-up included."""
        try:
            self._run()
        except HarnessError as error:
            pytest.fail(told(error, self._run_dir), pytrace=False)

    def _run(self) -> None:
        title = f"{self.path.stem}-{self.name}"
        # pytest offers its temporary directories to fixtures only, and an item has none.
        factory: pytest.TempPathFactory = self.config._tmp_path_factory  # type: ignore[attr-defined]
        run_dir = self._run_dir = run_dir_for(self.config, title, factory.mktemp)
        self.user_properties.append(("run directory", str(run_dir.path)))
        begin_record(run_dir, self.bound, self._settings, str(self.bound.case.document.path))
        # Captured by pytest, and shown where something went wrong.
        progress = Progress(sys.stderr)
        lab = make_lab(
            self.bound,
            run_dir,
            store=Store(),
            progress=progress,
            name=name_for(title),
            boot=self.config.getoption("boot"),
        )
        service = LabService(lab, run_dir=str(run_dir.path), title=self.bound.case.claim)
        try:
            run_case(self.bound, run_dir, lab, hold=self._hold_failed)
        finally:
            service.close()

    def _hold_failed(self, lab: Lab) -> None:
        """With ``--lab-keep``, keep up a lab whose case did not pass."""
        if not self.config.getoption("lab_keep") or self._run_dir is None:
            return
        if isinstance(sys.exception(), KeyboardInterrupt):
            return
        try:
            result = result_of(judge_run(self._run_dir))
            if result.outcome is Outcome.PASSED:
                return
            why = reasons(result)
        except RecordError as error:
            why = str(sys.exception() or error)
        hold(self.config, lab, why)

    def runtest(self) -> None:
        """The verdict."""
        if self._run_dir is None:
            pytest.fail(f"CANNOT TELL ({EXIT_CANNOT_TELL}): the case was not run", pytrace=False)
        try:
            result = result_of(judge_run(self._run_dir))
        except RecordError as error:
            pytest.fail(told(error, self._run_dir), pytrace=False)
        write_reports(self._run_dir, result)
        self.add_report_section("call", "report", render(result, self._run_dir.path))
        if self._known is not None and result.outcome is not Outcome.CANNOT_TELL:
            different = known_failure(result, self._known)
            if not different:
                pytest.xfail(f"known: {self._known.reason}")
            pytest.fail(
                f"{self.name}: {different}\nrun directory: {self._run_dir.path}", pytrace=False
            )
        if result.outcome is not Outcome.PASSED:
            word, _, why = reasons(result).partition(":")
            pytest.fail(
                f"{word} ({result.exit_code}):{why}run directory: {self._run_dir.path}",
                pytrace=False,
            )
