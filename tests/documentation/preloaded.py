"""A ``dfutils`` that need not import TensorFlow, which takes longer than most commands of the pages.

    python preloaded.py SOCKET

imports what the commands need, and then runs each command in a process of its own, which is forked from this one. A
command is handed over by `SCRIPT`, with its arguments, folder, environment and standard streams.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

SCRIPT = """#!{python} -IS
import json
import os
import socket
import sys

with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
    server.connect({socket!r})
    message = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [message], [0, 1, 2])
    sys.exit(int(server.recv(16) or 70))
"""
MOST_BYTES = 1 << 17
"""Of a command's arguments, folder and environment."""


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
                    return


def _answer(client: socket.socket) -> None:
    """Fork once more, so that the command has ended, with all that it writes at its end, when its status is told."""
    message, streams, _, _ = socket.recv_fds(client, MOST_BYTES, 3)
    arguments, folder, environment = json.loads(message)
    if command := os.fork():
        _, status = os.waitpid(command, 0)
        client.send(str(os.waitstatus_to_exitcode(status) % 256).encode())
        return
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
