#!/usr/bin/env python3
"""Runs contenders in turn, A B C A B C, and writes one line of CSV for every run of each.

Whole processes are timed, from before they are started until they have ended. Their processor time is that of all
they started, also of what they left to itself: orphans become this process's children, and no contender runs
before the last one's processes are gone. Must never leave a process behind.

usage: interleave.py PLAN CSV LEFTOUT --samples COUNT --warmups COUNT

PLAN has one contender a line: name, status it ends with, command, and optionally a command to run before, which
takes part in neither time, and again afterwards, when its processor time counts: what a run uses up it must
make again. Fields are parted by tabs, commands are words as a shell would read them, NAME=VALUE first.
A contender that fails in the warm-up is left out; LEFTOUT says so.
"""

import argparse
import collections
import csv
import ctypes
import os
import pathlib
import re
import resource
import shlex
import signal
import sys
import tempfile
import time

PR_SET_CHILD_SUBREAPER = 36
# A command that takes longer hangs.
RUN_SECONDS_MAX = 120
# What a command leaves running is given so long to end; a contender that takes longer disturbs the next one.
SETTLE_SECONDS_MAX = 10
# Processes are asked to end, and made to after so long.
END_SECONDS_MAX = 10
POLL_SECONDS = 0.002
MESSAGE_CHARACTERS_MAX = 300
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Contender = collections.namedtuple("Contender", "name status command before")
Sample = collections.namedtuple("Sample", "wall_ms cpu_ms status message")


def contenders(plan):
    """The contenders of a plan."""
    found = []
    for line in pathlib.Path(plan).read_text().splitlines():
        name, status, command, *before = line.split("\t")
        found.append(Contender(name, int(status), shlex.split(command), shlex.split(before[0]) if before else None))
    return found


def start(words, log):
    """Starts a command in a process group of its own, so that Ctrl-C comes here alone; gives its number."""
    environment = dict(os.environ)
    while re.match(r"[A-Z_]+=", words[0]):
        name, value = words[0].split("=", 1)
        environment[name] = value
        words = words[1:]
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
        (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
    ]
    return os.posix_spawnp(words[0], words, environment, file_actions=actions, setpgroup=0,
                           setsigdef=[signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE])


def await_end(process):
    """Waits until a child has ended; gives its status, by a signal as a shell has it, and the moment it ended."""
    signal.setitimer(signal.ITIMER_REAL, RUN_SECONDS_MAX)
    try:
        # Not reaped yet: that is quick for one and slow for another, and no part of its run.
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
    except TimeoutError:
        end({process: None})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    moment = time.perf_counter()
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return (128 - status if status < 0 else status), moment


def run(words):
    """Runs a command to its end; gives milliseconds, status and its last words."""
    with tempfile.TemporaryFile() as log:
        begun = time.perf_counter()
        try:
            status, ended = await_end(start(words, log))
        except FileNotFoundError as error:
            return 0.0, 127, str(error)
        log.seek(0)
        message = log.read().decode(errors="replace").strip()[-MESSAGE_CHARACTERS_MAX:]
    return (ended - begun) * 1000, status, message


def stat(process):
    """The fields of /proc/PID/stat after the name, which may have anything in it; none when it is gone."""
    try:
        return pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def descendants():
    """Every process below this one, by number, with what /proc says of it."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        fields = stat(name)
        if fields:
            found[int(name)] = fields
    below = {os.getpid()}
    while True:
        more = {process for process, fields in found.items() if int(fields[1]) in below} - below
        if not more:
            return {process: found[process] for process in below if process != os.getpid()}
        below |= more


def processor_seconds():
    """Processor time of all processes that were ever started here and still run or were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = used.ru_utime + used.ru_stime
    tick = 1 / os.sysconf("SC_CLK_TCK")
    for process, fields in descendants().items():
        try:
            # The clock of another process: clock_getcpuclockid(3) is this formula.
            seconds += time.clock_gettime((~process << 3) | 2)
        except OSError:
            continue
        seconds += (int(fields[13]) + int(fields[14])) * tick
    return seconds


def reap():
    """Takes leave of orphans that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def await_gone(is_gone, seconds):
    """Waits until the processes below this one are as wanted; tells whether they are."""
    deadline = time.monotonic() + seconds
    while True:
        reap()
        if is_gone(descendants()):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)


def send(processes, number):
    for process in processes:
        try:
            os.kill(process, number)
        except ProcessLookupError:
            pass


def end(processes):
    """Asks processes to end, makes them if they do not."""
    send(processes, signal.SIGTERM)
    still = lambda: [process for process in processes if (stat(process) or "Z")[0] != "Z"]
    deadline = time.monotonic() + END_SECONDS_MAX
    while still() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    send(still(), signal.SIGKILL)


def end_all():
    """Leaves no process. Those that ended may have left others to this one."""
    while descendants():
        end(descendants())
        await_gone(lambda below: not below, 1)


def sample(contender):
    """One run of one contender, and nothing of it left when it is over."""
    if contender.before:
        _, status, message = run(contender.before)
        if status != 0:
            return Sample(0.0, 0.0, status, message)
    earlier = set(descendants())
    seconds = processor_seconds()
    wall, status, message = run(contender.command)
    if contender.before:
        run(contender.before)
        settled = await_gone(lambda below: not earlier & set(below), SETTLE_SECONDS_MAX)
    else:
        settled = await_gone(lambda below: not set(below) - earlier, SETTLE_SECONDS_MAX)
    if not settled:
        print(f"{contender.name}: processes of it are left after {SETTLE_SECONDS_MAX} s", file=sys.stderr)
    return Sample(wall, (processor_seconds() - seconds) * 1000, status, message)


def warm_up(every, count, leftout):
    """Runs each in turn; gives those that can be run, and notes the others."""
    for _ in range(count):
        for contender in list(every):
            result = sample(contender)
            if result.status != contender.status:
                every.remove(contender)
                reason = " ".join(result.message.split()) or f"ended with status {result.status}"
                print(f"- {contender.name}: {reason}", file=leftout, flush=True)
    return every


def measure(every, count, table):
    """Takes the samples. One that failed is written down as such, and is no figure."""
    for number in range(1, count + 1):
        for contender in every:
            result = sample(contender)
            is_good = int(result.status == contender.status)
            table.writerow([number, contender.name, f"{result.wall_ms:.3f}", f"{result.cpu_ms:.3f}", is_good])
            if not is_good:
                print(f"{contender.name}: failed with {result.status}: {result.message}", file=sys.stderr)
        if sys.stderr.isatty():
            print(f"\r{number} of {count}", end="" if number < count else "\n", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser()
    for name in ("plan", "csv", "leftout"):
        parser.add_argument(name)
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--warmups", type=int, required=True)
    options = parser.parse_args()
    with open(options.leftout, "a") as leftout, open(options.csv, "w", newline="") as file:
        every = warm_up(contenders(options.plan), options.warmups, leftout)
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["round", "contender", "wall_ms", "cpu_ms", "ok"])
        measure(every, options.samples, table)


def ignore_signals():
    for each in STOPS:
        signal.signal(each, signal.SIG_IGN)


def stop(number, _frame):
    # Ctrl-C brings a second one at once, from the shell that waits here: it must not cut short the cleaning up.
    ignore_signals()
    sys.exit(128 + number)


def too_long(_number, _frame):
    raise TimeoutError


if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
    sys.exit("interleave.py: this kernel has no subreapers")
# A shell starts what it runs in the background with SIGINT ignored.
for each in STOPS:
    signal.signal(each, stop)
signal.signal(signal.SIGALRM, too_long)
try:
    main()
finally:
    ignore_signals()
    end_all()
