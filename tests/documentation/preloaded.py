"""A ``dfutils`` with TensorFlow already imported, because the import takes longer than most commands on the pages.

    python preloaded.py SOCKET

imports what the commands need, and then runs each command in a process of its own, which is forked from this one. A
command is handed over by `SCRIPT`, with its arguments, folder, environment and standard streams. What a library reads
from the environment when it is imported is that of this process. Linux only.
"""

import json
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

SCRIPT = """#!{python} -IS
import json
import os
import socket
import sys

with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
    server.connect({socket!r})
    message = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    if len(message) > {most_bytes}:
        sys.exit("preloaded dfutils: arguments and environment are too long")
    socket.send_fds(server, [message], [0, 1, 2])
    status = server.recv(16)
    sys.exit(int(status) if status else "preloaded dfutils: the server did not answer")
"""
MOST_BYTES = 1 << 17
"""Largest message: arguments, folder and environment of a command."""


def script(path: Path) -> str:
    """Return the ``dfutils`` that hands commands over to the server at ``path``."""
    return SCRIPT.format(python=sys.executable, socket=str(path), most_bytes=MOST_BYTES)


def start_server(path: Path, *, environment: dict[str, str]) -> subprocess.Popen:
    """Start a server that listens at ``path``, and return when it does."""
    command = [sys.executable, __file__, str(path)]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline() == "ready\n"
    return server


def serve(path: str) -> None:
    import dfutils.training.run  # noqa: F401

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            client, _ = listener.accept()
            with client:
                if os.fork() == 0:
                    listener.close()
                    _answer(client)
            with suppress(ChildProcessError):  # none has ended
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def _answer(client: socket.socket) -> NoReturn:
    """Fork again, so that the status is sent only after the command has exited and its exit handlers have run."""
    message, streams, _, _ = socket.recv_fds(client, MOST_BYTES, 3)
    arguments, folder, environment = json.loads(message)
    if command := os.fork():
        _, status = os.waitpid(command, 0)
        client.send(str(os.waitstatus_to_exitcode(status) % 256).encode())
        os._exit(0)  # without the exit handlers, which the command has run
    client.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["dfutils", *arguments]

    from dfutils import cli

    sys.exit(cli.main())


if __name__ == "__main__":
    serve(sys.argv[1])
