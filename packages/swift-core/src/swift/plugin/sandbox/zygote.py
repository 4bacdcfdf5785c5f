"""The process that plugins' processes are forked from: clean, warm, and without any plugin's code.

Importing torch takes seconds; here it is done once. This process is started by exec and not forked from the
run, so it holds nothing of the run's memory. It is told nothing about a plugin either: a request brings the
descriptors of a new child, and the child hears from its own channel what it is to load.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import struct
import traceback
from typing import NoReturn

from swift.plugin.sandbox.kernel import PR_SET_PDEATHSIG, prctl

REQUEST = struct.Struct("<cq")  # what to do; the id of a process or 0
ANSWER = struct.Struct("<qq")  # the id or a status; an errno or 0
FORK, REAP = b"f", b"r"


def main(control: int, parent: int) -> NoReturn:
    """Fork and reap on request until the run closes the control socket.

    Args:
        control: descriptor of a SOCK_SEQPACKET socket.
        parent: id of the run's process.
    """
    die_with(parent)
    from swift.plugin.sandbox.child import warm_up

    warm_up()
    gc.collect()
    gc.freeze()  # else each child's first collection would copy every page that holds an object
    connection = socket.socket(fileno=control)
    while True:
        request, descriptors, _, _ = socket.recv_fds(connection, REQUEST.size, 2)
        if len(request) != REQUEST.size:
            os._exit(0)
        kind, pid = REQUEST.unpack(request)
        if kind == FORK:
            _fork(connection, *descriptors)
        else:
            _answer(connection, os.waitpid(pid, 0)[1])


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends, however that ends."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)  # it ended before


def _fork(connection: socket.socket, channel: int, output: int) -> None:
    """Answer with the id of a new process and a descriptor of it; keep nothing of it but its exit status."""
    here = os.getpid()
    try:
        pid = os.fork()
        if pid == 0:
            _become(connection, here, channel, output)
        process = os.pidfd_open(pid)
    except OSError as error:
        _answer(connection, 0, error.errno or 0)
    else:
        _answer(connection, pid, 0, process)
        os.close(process)
    finally:
        os.close(channel)
        os.close(output)


def _answer(connection: socket.socket, number: int, error: int = 0, *descriptors: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # the run is gone, and this process with it
        socket.send_fds(connection, [ANSWER.pack(number, error)], descriptors, socket.MSG_NOSIGNAL)


def _become(connection: socket.socket, zygote: int, channel: int, output: int) -> NoReturn:
    """A child's whole life."""
    status = 1
    try:
        connection.close()
        die_with(zygote)
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        from swift.plugin.sandbox.child import main as serve

        serve(channel)
        status = 0
    except BaseException:  # noqa: BLE001 (nothing may return into the loop above)
        traceback.print_exc()
    finally:
        os._exit(status)
