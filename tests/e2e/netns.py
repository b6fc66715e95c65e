"""A network of its own: a namespace whose loopback device has further addresses, which are not loopback addresses.

So a program that runs in it can be shown addresses like 169.254.169.254, and nothing that it sends leaves the machine.
"""

import concurrent.futures
import ctypes
import os
import subprocess

CLONE_NEWNET = 0x40000000


class Network:
    """Existing while in `with`."""

    def __init__(self, *addresses):
        self._holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"],
                                        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self._holder.stdout.read(1)
        self.path = f"/proc/{self._holder.pid}/ns/net"
        self.prefix = ["nsenter", f"--net={self.path}"]
        self._run("ip", "link", "set", "lo", "up")
        for address in addresses:
            if ":" in address:
                self._run("ip", "address", "add", f"{address}/128", "dev", "lo", "nodad")
            else:
                self._run("ip", "address", "add", f"{address}/32", "dev", "lo")

    def _run(self, *command):
        subprocess.run([*self.prefix, *command], check=True, capture_output=True, timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._holder.kill()
        self._holder.wait(60)
        self._holder.stdout.close()

    def inside(self, function, *arguments, **named):
        """Runs a function in a thread that is in this network: what it listens on, is there. Gives its result."""
        def run():
            libc = ctypes.CDLL(None, use_errno=True)
            fd = os.open(self.path, os.O_RDONLY)
            try:
                if libc.setns(fd, CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(fd)
            return function(*arguments, **named)

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(run).result(60)
