"""Loop devices, as loop(4) and linux/loop.h describe them: configure one, and read what sysfs says about all."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from pathlib import Path

LOOP_CTL_GET_FREE = 0x4C82
LOOP_CONFIGURE = 0x4C0A
LOOP_CLR_FD = 0x4C01
LOOP_GET_STATUS64 = 0x4C05
LO_FLAGS_AUTOCLEAR = 4
LO_FLAGS_DIRECT_IO = 16
LOOP_MAJOR = 7

# struct loop_config: descriptor, block size, then struct loop_info64, then eight reserved words.
CONFIG = struct.Struct("=2I 5Q 4I 64s64s32s 2Q 64x")

# struct loop_info64; the third figure is the number of the device that is the backing file.
INFO = struct.Struct("=5Q 4I 64s64s32s 2Q")

SYS_BLOCK = Path("/sys/block")


def device_node(number: int) -> str:
    """Return the path of a loop device, making the node where /dev is not the kernel's own."""
    path = f"/dev/loop{number}"
    if not os.path.exists(path):
        os.mknod(path, stat.S_IFBLK | 0o660, os.makedev(LOOP_MAJOR, number))
    return path


def attach(backing: int) -> tuple[int, int]:
    """Put a free loop device with direct I/O upon an open file; return its descriptor and its number.

    The device detaches by itself when its last user closes it: the descriptor is the first user.  Raises OSError, with
    EINVAL where the file cannot do direct I/O.
    """
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(64):
            number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
            device = os.open(device_node(number), os.O_RDWR | os.O_CLOEXEC)
            if configured(device, backing):
                if not direct_io(number):
                    os.close(device)
                    raise OSError(errno.EINVAL, f"loop{number} does not use direct I/O")
                return device, number
            os.close(device)
        raise OSError(errno.EBUSY, "others take every free loop device")
    finally:
        os.close(control)


def configured(device: int, backing: int) -> bool:
    """Configure the device; False when somebody else was faster."""
    flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO
    config = CONFIG.pack(backing, 0, 0, 0, 0, 0, 0, 0, 0, 0, flags, b"", b"", b"", 0, 0)
    try:
        fcntl.ioctl(device, LOOP_CONFIGURE, config)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


def direct_io(number: int) -> bool:
    return (SYS_BLOCK / f"loop{number}/loop/dio").read_text().strip() == "1"


def backing_file(number: int) -> str | None:
    """Return the path of the file beneath a loop device as the kernel tells it, None when it is free."""
    try:
        return (SYS_BLOCK / f"loop{number}/loop/backing_file").read_text().rstrip("\n")
    except OSError:
        return None


def backing_files() -> dict[int, str]:
    """Return number and backing file of every loop device in use.  Opens no device."""
    numbers = (int(path.name[4:]) for path in SYS_BLOCK.glob("loop*") if path.name[4:].isdigit())
    found = {number: backing_file(number) for number in numbers}
    return {number: file for number, file in sorted(found.items()) if file is not None}


def above(number: int) -> list[int]:
    """Return the loop devices whose backing file is this loop device.  Opens those alone whose backing file is called like it."""
    called = (other for other, file in backing_files().items() if os.path.basename(file) == f"loop{number}")
    return [other for other in called if backing_device(other) == number]


def backing_device(number: int) -> int | None:
    """Return the number of the loop device beneath a loop device, None where there is none."""
    told = bytearray(INFO.size)
    try:
        device = os.open(device_node(number), os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(device, LOOP_GET_STATUS64, told)
        finally:
            os.close(device)
    except OSError:
        return None  # It has been detached meanwhile.
    beneath = INFO.unpack(told)[2]
    return os.minor(beneath) if os.major(beneath) == LOOP_MAJOR else None


def detach(number: int) -> None:
    """Detach a loop device from its backing file, at once or when its last user closes it.  Raises OSError."""
    device = os.open(device_node(number), os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(device, LOOP_CLR_FD)
    finally:
        os.close(device)
