"""Locks of the operating system on open files. They end with the process that holds them, however it ends."""

import errno
import fcntl
from typing import IO

# Some cluster file systems are mounted without locks.
UNSUPPORTED = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL)


def lock(file: IO, shared: bool = False, wait: bool = False) -> bool | None:
    """Lock an open file until it is closed. Several may hold a shared lock, and none of them another one.

    file: open for reading and writing, as NFS wants it.

    Returns True if it is locked, False if another process holds it (never with `wait`), None if the file system has no
    locks.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return None
    return True
