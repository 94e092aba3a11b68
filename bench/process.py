"""A finished process: what it printed, and what it took.

Linux counts the peak of the process that starts another to the other's: whoever imports this must
stay small, and leave numpy and the like to processes of their own.
"""

import os
import subprocess


def run(command, where):
    """Output and peak memory in MiB of a finished process."""
    child = subprocess.Popen(command, cwd=where, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0, command
    return output, usage.ru_maxrss / 1024
