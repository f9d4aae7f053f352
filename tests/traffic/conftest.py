from collections.abc import Iterator

import pytest

from tests.traffic.namespaces import Side, veth_pair


@pytest.fixture
def pair() -> Iterator[tuple[Side, Side]]:
    with veth_pair() as sides:
        yield sides
