"""A hostile plugin. Each attack returns what it gained, or raises OSError where it is held off.

`python attacks.py NAME ARGUMENT` runs one without a sandbox, to show that it is a real attack.
"""

# What matters here is the system call and not the style:
# ruff: noqa: PTH101, PTH108, PTH109, PTH123, PTH208, PTH211

import ctypes
import fcntl
import gc
import json
import mmap
import os
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
ATTACKS: dict[str, Any] = {}


def attack(function):
    ATTACKS[function.__name__] = function
    return function


def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


# --- files


@attack
def read_secret(path):
    return Path(path).read_text()


@attack
def read_secret_by_path_descriptor(path):
    descriptor = os.open(path, os.O_PATH)
    return os.read(os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY), 100).decode()


@attack
def read_secret_with_openat2(path):
    how = struct.pack("QQQ", os.O_RDONLY, 0, 0)
    return os.read(check(libc.syscall(437, -100, path.encode(), how, len(how))), 100).decode()


@attack
def list_folder(path):
    return os.listdir(path)


@attack
def read_neighbour(path):
    return (Path(__file__).parent / Path(path).name).read_text()


@attack
def write_outside(path):
    with open(path, "a") as file:
        file.write("x")
    return "written"


@attack
def make_file_outside(path):
    Path(path).write_text("x")
    return "made"


@attack
def truncate_outside(path):
    os.truncate(path, 0)
    return "truncated"


@attack
def truncate_by_opening_to_read(path):
    os.close(os.open(path, os.O_RDONLY | os.O_TRUNC))
    return "truncated"


@attack
def remove_outside(path):
    os.unlink(path)
    return "removed"


@attack
def read_through_symlink(link):
    return Path(link).read_text()


@attack
def write_through_symlink(link):
    return write_outside(link)


@attack
def make_symlink_and_read(path):
    os.symlink(path, "my_link")
    return Path("my_link").read_text()


@attack
def make_hard_link_and_read(path):
    os.link(path, "my_hard_link")
    return Path("my_hard_link").read_text()


@attack
def file_without_name(folder):
    return os.write(os.open(folder, os.O_TMPFILE | os.O_RDWR), b"x")


@attack
def change_mode(path):
    os.chmod(path, 0o777)
    return "changed"


@attack
def change_owner(path):
    os.chown(path, 65534, 65534)
    return "changed"


@attack
def change_times(path):
    os.utime(path, (0, 0))
    return "changed"


@attack
def set_attribute(path):
    os.setxattr(path, "user.x", b"x")
    return "changed"


@attack
def change_folder(path):
    os.chdir(path)
    return os.getcwd()


# --- network


@attack
def connect_tcp(port):
    return socket.create_connection(("127.0.0.1", int(port)), 2).getpeername()[1]


@attack
def listen_tcp(_):
    return socket.create_server(("127.0.0.1", 0)).getsockname()[1]


@attack
def send_udp(port):
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", int(port)))


@attack
def connect_unix(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    return "connected"


@attack
def connect_abstract(name):
    return connect_unix("\0" + name)


@attack
def make_socketpair(_):
    return [end.fileno() for end in socket.socketpair()]


# --- other processes


@attack
def kill_other(pid):
    os.kill(int(pid), 9)
    return "killed"


@attack
def kill_group(pid):
    os.killpg(os.getpgid(int(pid)), 9)
    return "killed"


@attack
def queue_signal(pid):
    return check(
        libc.syscall(129, int(pid), 10, ctypes.create_string_buffer(struct.pack("iii", 10, 0, -1), 128))
    )


@attack
def signal_by_descriptor(pid):
    descriptor = os.pidfd_open(int(pid))
    return check(libc.syscall(424, descriptor, 10, None, 0))


@attack
def own_signals_of_descriptor(pid):
    fcntl.fcntl(1, fcntl.F_SETOWN, int(pid))
    return "set"


@attack
def ptrace(pid):
    return check(libc.ptrace(16, int(pid), None, None))


@attack
def read_memory(pid):
    buffer = ctypes.create_string_buffer(8)
    here = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
    there = (ctypes.c_void_p * 2)(int(Path(f"/proc/{pid}/maps").read_text().split("-")[0], 16), 8)
    return check(libc.process_vm_readv(int(pid), here, 1, there, 1, 0))


@attack
def read_environment_of(pid):
    return Path(f"/proc/{pid}/environ").read_bytes()[:20].decode()


@attack
def read_command_of(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes()[:20].decode()


@attack
def open_memory_of(pid):
    return os.open(f"/proc/{pid}/mem", os.O_RDWR)


@attack
def list_descriptors_of(pid):
    return os.listdir(f"/proc/{pid}/fd")


@attack
def steal_descriptor_of(pid):
    process = os.pidfd_open(int(pid))
    return check(libc.syscall(438, process, 0, 0))


@attack
def list_mapped_files_of(pid):
    return os.listdir(f"/proc/{pid}/map_files")


@attack
def raise_limits_of(pid):
    import resource

    return resource.prlimit(int(pid), resource.RLIMIT_NOFILE, (16, 16))


@attack
def change_priority_of(pid):
    os.setpriority(os.PRIO_PROCESS, int(pid), 19)
    return "changed"


@attack
def change_cores_of(pid):
    os.sched_setaffinity(int(pid), {0})
    return "changed"


# --- new processes and threads


@attack
def execute(_):
    pid = os.posix_spawn("/bin/true", ["true"], {})
    return os.waitpid(pid, 0)[1]


@attack
def replace_itself(_):
    os.execv("/bin/echo", ["echo", json.dumps({"gained": "replaced"})])


@attack
def fork(_):
    if (pid := os.fork()) == 0:
        os._exit(0)
    return os.waitpid(pid, 0)[1]


@attack
def raw_clone(_):
    if (pid := check(libc.syscall(56, 17, 0, 0, 0, 0))) == 0:
        os._exit(0)
    return pid


@attack
def start_threads(_):
    try:
        threading.Thread(target=time.sleep, args=(0,)).start()
    except RuntimeError as error:
        raise OSError(1, str(error)) from None
    return "started"


@attack
def outlive_the_run(_):
    return check(libc.prctl(1, 0, 0, 0, 0))


@attack
def set_timer(_):
    import signal

    signal.signal(signal.SIGALRM, lambda *_: None)
    return signal.setitimer(signal.ITIMER_REAL, 1000)


# --- kernel


@attack
def unshare_namespaces(_):
    return check(libc.unshare(0x10000000))


@attack
def mount(_):
    return check(libc.mount(b"none", b"/mnt", b"tmpfs", 1 << 5 | 1 << 12, None))


@attack
def make_ring(_):
    return check(libc.syscall(425, 1, ctypes.create_string_buffer(120)))


@attack
def make_key(_):
    return check(libc.syscall(248, b"user", b"swift", b"x", 1, -2))


@attack
def make_memory_file(_):
    return os.memfd_create("x")


@attack
def load_bpf(_):
    return check(libc.syscall(321, 0, ctypes.create_string_buffer(struct.pack("IIII", 2, 4, 4, 1), 64), 64))


@attack
def watch_page_faults(_):
    return check(libc.syscall(323, 1))


@attack
def read_kernel_log(_):
    return check(libc.klogctl(10, None, 0))


# --- what was there before


@attack
def read_inherited(descriptor):
    return os.pread(int(descriptor), 100, 0).decode()


@attack
def find_descriptors(_):
    """Any that is open besides the streams and the channel, such as one to whoever started this process."""
    channels = [each for each in gc.get_objects() if type(each).__name__ == "ChildChannel"]
    known = {0, 1, 2, *(each._socket.fileno() for each in channels)}
    found = []
    for descriptor in set(range(256)) - known:
        try:
            os.read(descriptor, 0)  # refused by one that another attack opened with O_PATH
        except OSError:
            continue
        found.append(descriptor)
    if not found:
        raise OSError(9, "no other descriptors")
    return found


@attack
def signal_parent(_):
    os.kill(os.getppid(), 0)
    return "reached"


@attack
def read_memory_of_parent(_):
    return read_memory(os.getppid())


@attack
def read_variable(name):
    if name not in os.environ:
        raise OSError(2, "no such variable")
    return os.environ[name]


@attack
def shrink_arenas(_):
    """Would kill the run with SIGBUS. A mapping keeps a descriptor, and resize() calls ftruncate on it."""
    memory = [each.memory for each in gc.get_objects() if type(each).__name__ == "Arena"]
    if not memory:
        descriptor = os.memfd_create("arena")
        os.ftruncate(descriptor, 8192)
        memory = [mmap.mmap(descriptor, 8192)]
    for each in memory:
        each.resize(4096)
    return len(memory)


if __name__ == "__main__":
    try:
        print(json.dumps({"gained": ATTACKS[sys.argv[1]](sys.argv[2])}))
    except OSError as error:
        print(json.dumps({"held_off": error.strerror}))
