"""What ``--as`` and ``--result`` say becomes the image that a step runs with."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from harness.bisect import Axis
from harness.case import bind, load_case
from harness.cli.bisecting import what_is_made
from harness.errors import InputError
from harness.topology import Choices
from tests.bisect.repositories import CASE

TREE = Path("/tree")


def made(what: str, result: str | None = None, **choices: str) -> tuple[Axis, str, Path]:
    bound = bind(load_case(CASE), "flat", choices=Choices.model_validate(choices))
    return what_is_made(argparse.Namespace(as_=what, result=result), TREE, bound)


@pytest.mark.parametrize(
    ("what", "result", "axis", "reference"),
    [
        ("qemu", None, "qemu", "path:/tree/build"),
        ("qemu", "out/prefix", "qemu", "path:/tree/out/prefix"),
        ("guest-kernel", None, "guest-kernel", "path:/tree"),
        ("host-kernel", "obj", "host-kernel", "path:/tree/obj"),
        ("module=net_failover", "d/net_failover.ko", "guest-kernel",
         "kernel+/tree/d/net_failover.ko"),
        ("module=virtio-net", "virtio_net.ko", "guest-kernel", "kernel+/tree/virtio_net.ko"),
    ],
)  # fmt: skip
def test_each_kind_has_its_reference(
    what: str, result: str | None, axis: str, reference: str
) -> None:
    assert made(what, result)[:2] == (axis, reference)


def test_a_module_goes_into_the_kernel_that_is_chosen() -> None:
    _, reference, path = made("module=failover", "failover.ko", **{"guest-kernel": "kernel-6.1"})
    assert reference == "kernel-6.1+/tree/failover.ko"
    assert path == TREE / "failover.ko"


@pytest.mark.parametrize(
    ("what", "result", "told"),
    [
        ("module=failover", None, "wanted --result too, as in --result DIR/failover.ko"),
        ("module=failover", "net_failover.ko", "--result net_failover.ko is no failover.ko"),
        ("module=", "x.ko", "wanted qemu, guest-kernel, host-kernel or module=NAME"),
        ("qemu=build", None, "wanted qemu, guest-kernel, host-kernel or module=NAME"),
    ],
)
def test_what_names_no_image_is_refused(what: str, result: str | None, told: str) -> None:
    with pytest.raises(InputError, match=told):
        made(what, result)
