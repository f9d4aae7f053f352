"""A QMP session: qemu.qmp's client on the loop thread, its events in QEMU's order.

Not here: processes and run states (``vm``). Coroutines and callbacks run on the loop thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Mapping
from typing import Any

from qemu.qmp import EventListener, ExecInterruptedError, ExecuteError, QMPClient, QMPError
from qemu.qmp.protocol import ConnectError, Runstate, StateError

from harness.errors import QmpCommandError, VmError

# What it logs as errors (a connection that ends) is told by our own errors, with more to them.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)

EventCallback = Callable[[Mapping[str, Any]], None]


class QmpRefused(QmpCommandError):
    """QEMU refused a command. ``error_class`` and ``description`` are QEMU's own."""

    def __init__(self, title: str, command: str, error_class: str, description: str) -> None:
        super().__init__(f"{title}: QEMU refused {command}: {description} ({error_class})")
        self.command = command
        self.error_class = error_class
        self.description = description


class SessionLost(VmError):
    """QEMU, or the connection to it, went away during the session."""


class QmpSession:
    """One session, over a socket that is connected already.

    ``on_lost`` is called once, after the last event, when the session has ended for
    whatever reason; its text says why.
    """

    def __init__(self, title: str, on_event: EventCallback, on_lost: Callable[[str], None]) -> None:
        self._title = title
        self._on_event, self._on_lost = on_event, on_lost
        self._client = QMPClient(title)
        self._listener = EventListener()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, connection: socket.socket) -> None:
        """Negotiate. SessionLost when QEMU hangs up or does not speak QMP."""
        connection.setblocking(False)  # what asyncio wants of a socket it is given
        # Registered first: an event that follows the greeting at once must not be missed.
        self._client.register_listener(self._listener)
        try:
            await self._client.connect(connection)
        except ConnectError as error:
            connection.close()
            raise SessionLost(f"{self._title}: no QMP session: {error}") from error
        pump = asyncio.create_task(self._pump())
        self._tasks = [pump, asyncio.create_task(self._watch(pump))]

    async def execute(
        self, command: str, args: Mapping[str, object] | None, *, oob: bool = False
    ) -> object:
        """The value QEMU returns. QmpRefused, or SessionLost when there is no answer."""
        try:
            return await self._client.execute(command, args, oob)
        except ExecuteError as error:
            raise QmpRefused(
                self._title, command, error.error_class, error.error.error.desc
            ) from error
        except (ExecInterruptedError, StateError) as error:
            raise SessionLost(f"{self._title}: the QMP session ended during {command}") from error

    async def close(self) -> None:
        """End the session; ``on_lost`` has been called when this returns."""
        if self._client.runstate is Runstate.RUNNING:
            # Suppressed: it was on its way out already, and the watch has the reason.
            with contextlib.suppress(QMPError, OSError, EOFError):
                await self._client.disconnect()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pump(self) -> None:
        async for event in self._listener:
            self._on_event(event)

    async def _watch(self, pump: asyncio.Task[None]) -> None:
        while self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()
        reason = "closed"
        try:
            await self._client.disconnect()
        except (QMPError, OSError, EOFError) as error:
            reason = f"{type(error).__name__}: {error}" if str(error) else "QEMU hung up"
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)
        while not self._listener.empty():  # QEMU's last words come before the loss is told
            self._on_event(await self._listener.get())
        self._on_lost(reason)
