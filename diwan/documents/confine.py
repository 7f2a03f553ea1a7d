"""Takes from the process that opens hostile bytes what it does not need: files, network, other processes, privileges.

By the kernel's Landlock, where it has it: then neither the user that the service runs as nor root makes a difference.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import diwan

_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522

# linux/landlock.h; the three calls have these numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 1 << 1, 1 << 2, 1 << 3
_RIGHTS_ON_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}  # all, by version
_TCP_BIND_AND_CONNECT = 3  # since version 4
_ABSTRACT_SOCKETS_AND_SIGNALS = 3  # since version 6

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def landlock_version() -> int:
    """What the kernel can confine (1 and more), 0 where it cannot."""
    return max(0, _libc.syscall(*map(ctypes.c_long, (_CREATE_RULESET, 0, 0, 1))))


def confine() -> None:
    """Of this process and all that it starts, for good. Call before the first hostile byte, after the imports.

    What stays: reading programs and libraries, and what is open already. Raises `OSError` where the kernel refuses
    what it says it can do.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if os.geteuid() == 0:
        _give_up_root()  # before the files are closed to it: it looks the user up
    version = landlock_version()
    if version:
        _restrict(version)
    _prctl(_PR_SET_DUMPABLE, 0)  # nobody but root looks into it; a change of user would set it back


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def _call(number: int, *arguments: object) -> int:
    done: int = _libc.syscall(ctypes.c_long(number), *arguments)
    if done < 0:
        raise OSError(ctypes.get_errno(), f"landlock ({number})")
    return done


def _restrict(version: int) -> None:
    handled = _RIGHTS_ON_FILES[max(known for known in _RIGHTS_ON_FILES if known <= version)]
    wanted = [handled]
    if version >= 4:
        wanted.append(_TCP_BIND_AND_CONNECT)
    if version >= 6:
        wanted.append(_ABSTRACT_SOCKETS_AND_SIGNALS)
    attributes = (ctypes.c_uint64 * len(wanted))(*wanted)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    rules = _call(_CREATE_RULESET, ctypes.byref(attributes), size, ctypes.c_uint32(0))
    try:
        for path in _readable():
            _allow(rules, path, _EXECUTE | _READ_FILE | (_READ_DIR if path.is_dir() else 0))
        _allow(rules, Path(os.devnull), _READ_FILE | _WRITE_FILE)
        _call(_RESTRICT_SELF, ctypes.c_long(rules), ctypes.c_long(0))
    finally:
        os.close(rules)


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def _allow(rules: int, path: Path, rights: int) -> None:
    opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        beneath = ctypes.byref(_Beneath(rights, opened))
        _call(_ADD_RULE, ctypes.c_long(rules), ctypes.c_long(1), beneath, ctypes.c_long(0))
    finally:
        os.close(opened)


def _readable() -> Iterator[Path]:
    """Python and its packages, system libraries, Tesseract and its languages. Never a checkout or a home as a whole."""
    wanted = [Path("/usr"), Path("/lib"), Path("/lib64"), Path("/nix/store"), Path("/etc/ld.so.cache")]
    wanted += [Path(diwan.__file__).parent, Path(sys.base_prefix, "lib"), Path(os.__file__).parent]
    wanted += [Path(entry) for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")]
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    wanted += [Path(entry) for entry in (*libraries, os.environ.get("TESSDATA_PREFIX", "")) if entry]
    program = shutil.which("tesseract")
    if program is not None:
        there = Path(program).resolve().parent
        wanted += [there, there.parent / "lib", there.parent / "share"]
    return (path for path in dict.fromkeys(wanted) if path.exists())


def _give_up_root() -> None:
    """Become `nobody`, where that user can read our code; stay root without any privilege of root where not."""
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        nobody = None
    if nobody is not None:
        needed = list(_readable())
        os.setgroups([])
        os.setresgid(nobody.pw_gid, nobody.pw_gid, nobody.pw_gid)
        os.seteuid(nobody.pw_uid)
        reaches = all(os.access(path, os.R_OK, effective_ids=True) for path in needed)
        os.seteuid(0)
        if reaches:
            os.setresuid(nobody.pw_uid, nobody.pw_uid, nobody.pw_uid)
            return
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    if _libc.capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)())) != 0:
        raise OSError(ctypes.get_errno(), "capset")
