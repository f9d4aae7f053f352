"""States of host VMs: what their key covers, and how a real QEMU is saved and loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.errors import StateError
from harness.images import State, StateKey, Store, Toolchain
from harness.lab.hoststate import HostStates, host_key, load, save
from harness.plan import make_plan
from harness.plan.model import HostPlan
from harness.reach.deadline import Deadline
from harness.reach.local import NamespaceMachine
from harness.reach.sandbox import Sandbox
from harness.vm import RunState, Vm
from tests.plan.test_make import topology

# -- the key -------------------------------------------------------------------------------


@dataclass
class _Made:
    digest: str = "d" * 64


class _Images:
    """Images that are nothing but their lists of contents."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def toolchain(self, name: str) -> Toolchain:
        root = self._at("qemu") / "root"
        return Toolchain(name, "e" * 64, "10.0.13", root, (), (), frozenset())

    def directory(self, ref: Any) -> Path:
        return self._at(ref.token)

    def disk(self, ref: Any) -> Path:
        return self._at(f"disk:{ref.token}") / "disk.erofs"

    def get(self, _ref: Any) -> _Made:
        return _Made()

    def _at(self, name: str) -> Path:
        path = self.place / name
        if not path.exists():
            path.mkdir()
            (path / "contents.json").write_text(name)
        return path


@pytest.fixture
def images(tmp_path: Path) -> Any:
    return _Images(tmp_path)


def plans(**beta: Any) -> tuple[HostPlan, HostPlan]:
    """Two hosts; ``beta`` says how the second differs in the topology."""
    data = topology("vm").model_dump(mode="json", exclude_none=True)
    data["hosts"]["beta"] |= beta
    hosts = make_plan(type(topology()).model_validate(data)).hosts
    return hosts["alpha"], hosts["beta"]


def key(plan: HostPlan, images: Any) -> StateKey:
    nobody: Any = None  # under TCG the machine is not asked
    return host_key(plan, nobody, images, "tcg")


def test_hosts_that_differ_in_names_and_addresses_share_a_state(images: Any) -> None:
    alpha, beta = plans()
    assert key(alpha, images).digest == key(beta, images).digest


@pytest.mark.parametrize(
    "beta",
    [{"memory": "3G"}, {"cpus": 3}, {"kernel_args": ["debug"]}, {"machine": "pc-q35-9.2"}],
    ids=str,
)
def test_hosts_with_other_arguments_do_not(images: Any, beta: dict[str, Any]) -> None:
    alpha, other = plans(**beta)
    assert key(alpha, images).digest != key(other, images).digest


@pytest.mark.parametrize(
    "image", ["qemu", "kernel:kernel", "host:host:kernel", "disk:guest:guest:kernel"]
)
def test_an_image_of_one_recipe_with_other_contents_is_another(images: Any, image: str) -> None:
    alpha, _ = plans()
    before = key(alpha, images).digest
    (images.place / image / "contents.json").write_text("a newer package")
    assert key(alpha, images).digest != before


def test_a_state_is_obtained_once_for_all_hosts_of_a_lab(images: Any, tmp_path: Path) -> None:
    made: list[Path] = []

    def make(into: Path) -> None:
        made.append(into)
        (into / "ram.mapped").write_bytes(b"state")

    store = Store(tmp_path / "store")
    states = HostStates(store.states, images, lambda _text: None, lambda _text: None)
    nobody: Any = None
    one, other = (states.obtain(plan, nobody, "tcg", make) for plan in plans())
    assert one == other
    assert len(made) == 1


# -- saving and loading --------------------------------------------------------------------

MakeVm = Callable[..., Vm]


@pytest.fixture
def make_vm() -> Iterator[MakeVm]:
    """Starts a VM of the real QEMU with firmware only."""
    with Sandbox("test") as sandbox, NamespaceMachine(sandbox, sandbox.root) as machine:

        def make(tag: str, *extra: str) -> Vm:
            qmp = f"{machine.scratch}/{tag}.sock"
            argv = [
                *Store().toolchain("qemu").argv(), "-nodefaults", "-no-user-config",
                "-display", "none", "-machine", "q35", "-accel", "tcg", "-m", "64M",
                "-chardev", f"socket,id=qmp,path={qmp},server=on,wait=off",
                "-mon", "chardev=qmp,mode=control", *extra,
            ]  # fmt: skip
            vm = Vm("alpha", machine, argv, qmp=qmp, log=f"{machine.scratch}/{tag}.log",
                    sink=lambda _event: None)  # fmt: skip
            vm.start(Deadline(30))
            return vm

        yield make


@pytest.fixture
def saved(make_vm: MakeVm, tmp_path: Path) -> State:
    vm = make_vm("saved")
    save(vm, tmp_path)
    assert vm.state is RunState.EXITED
    return State("alpha", "f" * 64, tmp_path, 0, 0.0)


@pytest.mark.lab
def test_a_host_runs_on_where_it_was_saved(make_vm: MakeVm, saved: State) -> None:
    vm = make_vm("loaded", "-incoming", "defer")
    load(vm, saved)
    assert vm.refresh() is RunState.RUNNING
    vm.quit(Deadline(20))


@pytest.mark.lab
def test_ram_takes_the_room_of_what_is_in_it(saved: State) -> None:
    status = saved.file("ram.mapped").stat()
    assert status.st_size > 64 << 20
    assert status.st_blocks * 512 < 16 << 20


@pytest.mark.lab
def test_a_stream_will_do_where_ram_cannot_be_mapped(
    make_vm: MakeVm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Vm.ask_words
    monkeypatch.setattr(Vm, "ask_words", lambda vm: ask(vm).model_copy(update={"capabilities": ()}))
    save(make_vm("saved"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["ram.stream"]
    vm = make_vm("loaded", "-incoming", "defer")
    load(vm, State("alpha", "f" * 64, tmp_path, 0, 0.0))
    assert vm.refresh() is RunState.RUNNING
    vm.quit(Deadline(20))


@pytest.mark.lab
def test_a_state_that_qemu_refuses_is_told_in_its_words(make_vm: MakeVm, saved: State) -> None:
    vm = make_vm("other", "-incoming", "defer", "-machine", "pc")
    with pytest.raises(StateError, match=r"alpha: its state f{16} cannot be loaded") as caught:
        load(vm, saved)
    assert "Machine type received is 'pc-q35-" in str(caught.value)


@pytest.mark.lab
def test_a_full_disk_is_no_state(make_vm: MakeVm) -> None:
    vm = make_vm("saved")
    small = f"{vm.machine.scratch}/small"
    vm.machine.make_directory(small)
    vm.machine.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small])
    try:
        with pytest.raises(StateError, match=r"its state cannot be written: .*[Nn]o space left"):
            save(vm, Path(small))
    finally:
        vm.machine.run(["umount", small])
