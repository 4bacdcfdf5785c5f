"""The system calls that a locked-down plugin may make, with their numbers.

Everything else is refused: sockets, processes, threads, signals to others, ptrace, mounts, keys, io_uring,
bpf, and what Landlock does not cover (chmod, chown, utimes, xattr, truncate by path). Removing, renaming and
making folders is left out too, so that all that a plugin writes stays visible to the parent's accounting.
"""

from __future__ import annotations

from typing import NamedTuple


class Architecture(NamedTuple):
    """What seccomp must know of a processor.

    Attributes:
        audit: the word by which the kernel names the calling convention (AUDIT_ARCH_*).
        column: of its numbers in the table below.
        foreign: lowest number that belongs to another convention (x32), or None.
    """

    audit: int
    column: int
    foreign: int | None


ARCHITECTURES = {
    "x86_64": Architecture(0xC000003E, 0, 0x40000000),
    "aarch64": Architecture(0xC00000B7, 1, None),
}

# name: (x86_64, aarch64); None where the architecture has no such call.
ALLOWED: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66),
    "pread64": (17, 67), "pwrite64": (18, 68), "lseek": (8, 62), "sendfile": (40, 71),
    "copy_file_range": (326, 285), "fadvise64": (221, 223), "ftruncate": (77, 46),
    "fsync": (74, 82), "fdatasync": (75, 83),
    "stat": (4, None), "lstat": (6, None), "fstat": (5, 80), "newfstatat": (262, 79), "statx": (332, 291),
    "getdents64": (217, 61), "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439),
    "readlink": (89, None), "readlinkat": (267, 78), "getcwd": (79, 17),
    "close": (3, 57), "close_range": (436, 436), "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24),
    "brk": (12, 214), "mmap": (9, 222), "munmap": (11, 215), "mprotect": (10, 226), "mremap": (25, 216),
    "madvise": (28, 233), "msync": (26, 227),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132), "restart_syscall": (219, 128),
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101), "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153),
    "getpid": (39, 172), "gettid": (186, 178), "getppid": (110, 173), "getuid": (102, 174),
    "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177), "uname": (63, 160),
    "sysinfo": (99, 179), "getrusage": (98, 165), "getrlimit": (97, 163), "getcpu": (309, 168),
    "sched_yield": (24, 124), "sched_getaffinity": (204, 123),
    "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72),
    "futex": (202, 98), "set_robust_list": (273, 99), "rseq": (334, 293), "membarrier": (324, 283),
    "getrandom": (318, 278), "exit": (60, 93), "exit_group": (231, 94),
}  # fmt: skip

# Allowed with some arguments only; seccomp.py says which.
CONDITIONAL: dict[str, tuple[int | None, int | None]] = {
    "open": (2, None), "openat": (257, 56), "fcntl": (72, 25), "ioctl": (16, 29),
    "kill": (62, 129), "tgkill": (234, 131), "prlimit64": (302, 261), "recvmsg": (47, 212),
}  # fmt: skip

CLONE3 = 435  # on both; C libraries expect "no such call" of it rather than "not permitted"
SECCOMP = {"x86_64": 317, "aarch64": 277}
CAPSET = {"x86_64": 126, "aarch64": 91}
