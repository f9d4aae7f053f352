"""A program that stands for QEMU: a QMP server that follows a script.

    fake_qemu.py SOCKET SCRIPT

SCRIPT is JSON: ``{"greeting": [...], "COMMAND": [...], ...}``; each list holds what is done
at that moment: ``{"return": ...}``, ``{"error": [class, desc]}``, ``{"event": [name, data]}``,
``{"print": text}``, ``{"hangup": true}`` (close the session, keep running), ``{"exit": status}``,
``{"cut": true}`` (half a line, then exit), ``{"pause": true}`` (never answer), ``{"become":
SCRIPT}`` (follow that for the commands in it from then on). A command that
the script does not name returns ``{}``. ``{"listen": false}`` at the top: never listen.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

GREETING = {
    "QMP": {
        "version": {"qemu": {"major": 10, "minor": 0, "micro": 0}, "package": ""},
        "capabilities": [],
    }
}


def reply_to(request: Any) -> dict[str, Any]:
    return {} if request is None else {"id": request}


def requests(connection: socket.socket) -> Iterator[dict[str, Any]]:
    """Like QEMU's, this parser needs no line ends between the objects."""
    text = ""
    while data := connection.recv(65536):
        text += data.decode()
        while text.strip():
            try:
                request, end = json.JSONDecoder().raw_decode(text.lstrip())
            except ValueError:
                break
            text = text.lstrip()[end:]
            yield request


def main() -> None:
    path, script = sys.argv[1], json.loads(sys.argv[2])
    for action in script.get("start", []):
        print(action.get("print", ""), file=sys.stderr, flush=True)
        if "exit" in action:
            os._exit(action["exit"])
        if "pause" in action:
            signal.pause()
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    connection, _ = server.accept()

    def say(message: Any) -> None:
        connection.sendall(json.dumps(message).encode() + b"\r\n")

    def follow(actions: list[dict[str, Any]], request: Any) -> None:
        for action in actions:
            if "return" in action:
                say({"return": action["return"], **reply_to(request)})
            elif "error" in action:
                kind, text = action["error"]
                say({"error": {"class": kind, "desc": text}, **reply_to(request)})
            elif "event" in action:
                name, data = action["event"]
                now = time.time_ns() // 1000
                stamp = {"seconds": now // 1_000_000, "microseconds": now % 1_000_000}
                if "unknown_time" in action:
                    stamp = {"seconds": -1, "microseconds": -1}
                say({"event": name, "data": data, "timestamp": stamp})
            elif "become" in action:
                script.update(action["become"])
            elif "print" in action:
                print(action["print"], file=sys.stderr, flush=True)
            elif "hangup" in action:
                connection.shutdown(socket.SHUT_RDWR)
            elif "cut" in action:
                connection.sendall(b'{"return": {')
                os._exit(action["cut"])
            elif "exit" in action:
                os._exit(action["exit"])
            elif "pause" in action:
                signal.pause()

    say(GREETING)
    follow(script.get("greeting", []), None)
    for request in requests(connection):
        name = request["execute"]
        default = {"query-status": [{"return": {"status": "running", "running": True}}]}
        actions = script.get(name, default.get(name, [{"return": {}}]))
        if name == "quit" and "quit" not in script:
            actions = [{"return": {}}, {"event": ["SHUTDOWN", {"guest": False}]}, {"exit": 0}]
        follow(actions, request.get("id"))
    signal.pause()


if __name__ == "__main__":
    main()
