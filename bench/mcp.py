#!/usr/bin/env python3
"""Measures `pyro mcp serve` against the same work as commands, in turn, and prints a page.

usage: bench/mcp.py [PROGRAM]     CALLS=10000 SAMPLES=100 in the environment

Uses the environments of PYRO_CACHE_DIR; its state is its own and goes with it. Nothing here passes or fails.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time

PROGRAM = sys.argv[1] if len(sys.argv) > 1 else "target/release/pyro"
CALLS = int(os.environ.get("CALLS", "10000"))
SAMPLES = int(os.environ.get("SAMPLES", "100"))


class Client:
    """A client on standard input and output; calls may come from several threads."""

    def __init__(self, env, *arguments):
        command = [PROGRAM, "mcp", "serve", "--profile", "workspace-full", *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=env
        )
        self.lock = threading.Lock()
        self.number = 0
        self.waiting = {}
        threading.Thread(target=self.read, daemon=True).start()
        info = {"name": "bench", "version": "1"}
        self.ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info})

    def read(self):
        for line in self.process.stdout:
            message = json.loads(line)
            if "id" in message:
                waiting = self.waiting.pop(message["id"])
                waiting["answer"] = message
                waiting["there"].set()

    def ask(self, method, params):
        waiting = {"there": threading.Event()}
        with self.lock:
            self.number += 1
            self.waiting[self.number] = waiting
            message = {"jsonrpc": "2.0", "id": self.number, "method": method, "params": params}
            self.process.stdin.write(json.dumps(message) + "\n")
        waiting["there"].wait()
        return waiting["answer"]["result"]

    def tool(self, tool, **arguments):
        result = self.ask("tools/call", {"name": tool, "arguments": arguments})
        if result.get("isError"):
            raise RuntimeError(result["content"][0]["text"])
        return result["structuredContent"]

    def memory_kib(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    def close(self):
        self.process.stdin.close()
        return self.process.wait()


def timed(work):
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1000


def row(name, samples):
    samples = sorted(samples)
    p99 = samples[min(len(samples) - 1, int(len(samples) * 0.99))]
    print(f"| {name} | {statistics.median(samples):.1f} | {p99:.1f} |", flush=True)
    return statistics.median(samples)


def alternate(one, other):
    pairs = [(timed(one), timed(other)) for _ in range(SAMPLES)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def together(works):
    threads = [threading.Thread(target=work) for work in works]
    return timed(lambda: ([thread.start() for thread in threads], [thread.join() for thread in threads]))


def main():
    with tempfile.TemporaryDirectory(prefix="pyro-bench-mcp-") as place:
        env = dict(os.environ, PYRO_STATE_DIR=f"{place}/state", PYRO_RUNTIME_DIR=f"{place}/run", PYRO_POOL="0")

        def command(*words):
            subprocess.run([PROGRAM, *words], env=env, check=True, capture_output=True)

        client = Client(env)
        names = [f"w{number}" for number in range(5)]
        for name in names:
            client.tool("workspace_create", name=name, empty=True)
        try:
            print("| ms | p50 | p99 |\n|---|---|---|")
            row("tools/list, 43 tools", [timed(lambda: client.ask("tools/list", {})) for _ in range(SAMPLES)])
            tool, process = alternate(
                lambda: client.tool("workspace_status", workspace_id="w0"),
                lambda: command("workspace", "status", "w0"),
            )
            status = row("workspace_status", tool), row("the same as a command", process)
            tool, process = alternate(
                lambda: client.tool("workspace_exec", workspace_id="w0", command="true"),
                lambda: command("workspace", "exec", "w0", "--", "sh", "-c", "true"),
            )
            exec_ = row("workspace_exec of true", tool), row("the same as a command", process)
            print(f"\na tool adds {status[0] - status[1]:.1f} ms to status, {exec_[0] - exec_[1]:.1f} ms to exec\n")

            def sleep(name):
                return lambda: client.tool("workspace_exec", workspace_id=name, command="sleep 20", timeout_seconds=60)

            def short(name):
                return lambda: client.tool("workspace_exec", workspace_id=name, command="true")

            def short_command(name):
                return lambda: command("workspace", "exec", name, "--", "sh", "-c", "true")

            sleepers = [threading.Thread(target=sleep(name)) for name in names]
            [sleeper.start() for sleeper in sleepers]
            time.sleep(3)
            tools = together([short(name) for name in names * 3])
            commands = together([short_command(name) for name in names * 3])
            print(f"15 calls on 5 workspaces in each of which another one sleeps 20 s: {tools:.0f} ms together;")
            print(f"as 15 commands: {commands:.0f} ms\n")
            [sleeper.join() for sleeper in sleepers]
            before = client.memory_kib()
            for count in range(1, CALLS + 1):
                client.tool("workspace_status", workspace_id="w0")
                if count == CALLS // 10:
                    early = client.memory_kib()
            print(f"memory: {before} KiB, {early} after {CALLS // 10} calls, {client.memory_kib()} after {CALLS}")
        finally:
            for name in names:
                client.tool("workspace_delete", workspace_id=name)
            print(f"exit code at the end of its input: {client.close()}")


main()
