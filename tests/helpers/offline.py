"""Commands on a node without a network: in a namespace of their own that has a loopback device and no route."""

import fcntl
import os
import socket
import struct
import subprocess
import sys

UNSHARE = ["unshare", "--net", "--map-root-user"]


def offline(command: list[str]) -> list[str]:
    """The command that runs `command` without a network. Raises RuntimeError where that cannot be done."""
    found = [*UNSHARE, sys.executable, __file__, *command]
    tried = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True)
    if tried.returncode:
        raise RuntimeError(f"no network namespace can be made here ({tried.stderr.strip()}); run as root")
    return found


def loopback_up() -> None:
    """Set the flag IFF_UP of the namespace's loopback device."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        fcntl.ioctl(device, 0x8914, struct.pack("16sh22x", b"lo", 1))  # SIOCSIFFLAGS


if __name__ == "__main__":
    loopback_up()
    os.execvp(sys.argv[1], sys.argv[1:])
