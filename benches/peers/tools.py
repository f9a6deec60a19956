"""The programs that are compared: how each is started on a file and on an interface, and what it counted."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

INTERFACE = "wire"
COLLECTOR = "127.0.0.1:9995"


@dataclass
class Outcome:
    """What one run took, and what came of it."""

    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    rss_bytes: int = 0
    packets: int = 0
    records: int = 0
    out_bytes: int = 0
    notes: list = field(default_factory=list)


def tree(pid):
    """A process and those that it started."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        tasks = [task for task in os.listdir(f"/proc/{pid}/task") if task != str(pid)]
        for task in tasks:
            children += Path(f"/proc/{pid}/task/{task}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from tree(int(child))


def peak_bytes(pid):
    """The most that a process had in memory; what wait4 tells has the memory of whoever started it, too."""
    try:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        found = None
    return int(found[1]) * 1024 if found else 0


class Process:
    """A child whose processor time and memory are known once it has ended, its own children's too."""

    def __init__(self, command, log, inside=None, **options):
        if inside:
            command = ["ip", "netns", "exec", inside, *command]
        self.began = time.monotonic()
        self.peak_bytes = 0
        self.log = Path(log)
        self.child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.log.open("wb"), stderr=subprocess.STDOUT, **options
        )

    def end(self, outcome, how=None, patience=120):
        """Waits for it, after a signal if one is given, and adds what it took."""
        self.look()
        if how is not None:
            os.kill(self.child.pid, how)
        until = time.monotonic() + patience
        while True:
            pid, status, usage = os.wait4(self.child.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > until:
                os.kill(self.child.pid, signal.SIGKILL)
                outcome.notes.append(f"killed after {patience} s")
            self.look()
            time.sleep(0.02)
        self.child.returncode = os.waitstatus_to_exitcode(status)
        outcome.cpu_seconds += usage.ru_utime + usage.ru_stime
        outcome.wall_seconds = max(outcome.wall_seconds, time.monotonic() - self.began)
        outcome.rss_bytes += self.peak_bytes
        return self.child.returncode

    def look(self):
        """Takes note of the memory that it and its children have had."""
        self.peak_bytes = max(self.peak_bytes, sum(map(peak_bytes, tree(self.child.pid))))

    def has_ended(self):
        self.look()
        return Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"


def documents(path):
    with open(path, encoding="utf-8") as lines:
        yield from map(json.loads, lines)


class Tidegate:
    """Tidegate, in one of its depths."""

    def __init__(self, program, dissect):
        self.program, self.dissect = program, dissect
        self.name = f"tidegate, {dissect}"

    def config(self, folder, source, sink="type: file, path: {out}, encoding: { schema: ecs }"):
        text = "\n".join(
            [
                f"data_dir: {folder}/state",
                'api: { address: "127.0.0.1:9598" }',
                f"sources: {{ wire: {{ type: tshark, dissect: {self.dissect}, snaplen: 512, {source} }} }}",
                "transforms:",
                "  packets: { type: extract, inputs: [wire] }",
                "  flows: { type: flow, inputs: [packets] }",
                "sinks: { out: { inputs: [flows], " + sink.replace("{out}", f"{folder}/flows.out") + " } }",
            ]
        )
        path = Path(folder, "tidegate.yaml")
        path.write_text(text)
        return str(path)

    def on_file(self, capture, folder, outcome):
        config = self.config(folder, f"mode: file, files: [{capture}]")
        command = [self.program, "replay", "--quiet", "-c", config, capture]
        if Process(command, f"{folder}/log").end(outcome, patience=900):
            outcome.notes.append("did not end well")
        self.count(folder, outcome)

    def on_wire(self, inside, folder, _wait):
        mode = "segments, workers: 2" if self.dissect == "application" else "pipe"
        config = self.config(folder, f"interface: {INTERFACE}, mode: {mode}")
        return [Process([self.program, "run", "-c", config], f"{folder}/log", inside)]

    def stop(self, processes, folder, outcome):
        processes[0].end(outcome, signal.SIGTERM)
        self.count(folder, outcome)
        said = Path(folder, "log").read_text(errors="replace")
        outcome.notes += re.findall(r"(?:lost|dropped) \d+ \([a-z_]+\)|unknown loss", said)[:3]

    def count(self, folder, outcome):
        out = Path(folder, "flows.out")
        if not out.exists():
            return
        outcome.out_bytes = out.stat().st_size
        for flow in documents(out):
            outcome.records += 1
            outcome.packets += flow["network"]["packets"]


class Packetbeat:
    """Packetbeat with nothing but its flows."""

    name = "packetbeat 7.17"

    def __init__(self, program):
        self.program = program

    def config(self, folder, protocols=""):
        path = Path(folder, "packetbeat.yml")
        path.write_text(
            f"""packetbeat.interfaces: {{ device: {INTERFACE}, type: af_packet, snaplen: 512, buffer_size_mb: 64 }}
packetbeat.flows: {{ timeout: 5s, period: -1s }}
packetbeat.protocols: []
queue.mem: {{ events: 65536 }}
output.file: {{ path: {folder}, filename: flows.out, rotate_every_kb: 10000000 }}
path: {{ home: {folder}, data: {folder}/data, logs: {folder}/logs }}
logging.level: error
"""
        )
        path.chmod(0o600)
        return str(path)

    def on_file(self, capture, folder, outcome):
        command = [self.program, "-e", "-c", self.config(folder), "-I", capture, "-t"]
        process = Process(command, f"{folder}/log")
        # It does not end by itself once its flows are out in every version: it is quiet then.
        size, quiet = -1, 0
        while quiet < 30 and not process.has_ended():
            time.sleep(0.2)
            now = sum(path.stat().st_size for path in Path(folder).glob("flows.out*"))
            quiet = quiet + 1 if now == size and now > 0 else 0
            size = now
        process.end(outcome, signal.SIGTERM if not process.has_ended() else None)
        outcome.wall_seconds -= quiet * 0.2
        self.count(folder, outcome)

    def on_wire(self, inside, folder, _wait):
        return [Process([self.program, "-e", "-c", self.config(folder)], f"{folder}/log", inside)]

    def stop(self, processes, folder, outcome):
        time.sleep(8)  # until its last flows are over: a stop does not report them
        processes[0].end(outcome, signal.SIGTERM)
        self.count(folder, outcome)

    def count(self, folder, outcome):
        packets = {}
        for path in Path(folder).glob("flows.out*"):
            outcome.out_bytes += path.stat().st_size
            for flow in documents(path):
                outcome.records += 1
                # Of a flow that goes on each report has the sum so far.
                packets[flow["flow"]["id"]] = flow["network"]["packets"]
        outcome.packets = sum(packets.values())


class Nfpcapd:
    """nfpcapd, and nfdump for JSON of what it wrote."""

    name = "nfpcapd + nfdump -o json"

    def command(self, folder):
        Path(folder, "nf").mkdir()
        return ["nfpcapd", "-t", "86400", "-w", f"{folder}/nf"]

    def on_file(self, capture, folder, outcome):
        Process([*self.command(folder), "-r", capture], f"{folder}/log").end(outcome)
        began = outcome.wall_seconds
        self.count(folder, outcome)
        outcome.wall_seconds += began

    def on_wire(self, inside, folder, _wait):
        # It makes its table before it captures.
        return [Process([*self.command(folder), "-i", INTERFACE], f"{folder}/log", inside)]

    def stop(self, processes, folder, outcome):
        processes[0].end(outcome, signal.SIGTERM)
        self.count(folder, outcome)

    def count(self, folder, outcome):
        took = Outcome()
        Process(["nfdump", "-q", "-R", f"{folder}/nf", "-o", "json"], f"{folder}/flows.out").end(took)
        outcome.cpu_seconds += took.cpu_seconds
        outcome.wall_seconds = took.wall_seconds
        text = Path(folder, "flows.out").read_text()
        outcome.out_bytes = len(text)
        counts = [int(count) for count in re.findall(r'"in_packets" *: *(\d+)', text)]
        outcome.records, outcome.packets = len(counts), sum(counts)


class Softflowd(Nfpcapd):
    """softflowd, which sends NetFlow 9 to nfcapd, and nfdump for JSON."""

    name = "softflowd + nfcapd + nfdump -o json"

    def command(self, folder):
        command = ["softflowd", "-d", "-n", COLLECTOR, "-v", "9", "-m", "1000000"]
        return [*command, "-p", f"{folder}/pid", "-c", f"{folder}/ctl"]

    def collector(self, folder, inside=None):
        Path(folder, "nf").mkdir()
        command = ["nfcapd", "-w", f"{folder}/nf", "-t", "86400", "-p", COLLECTOR.split(":")[1], "-b", "127.0.0.1"]
        process = Process([*command, "-B", "8000000"], f"{folder}/collector", inside)
        time.sleep(1)
        return process

    def on_file(self, capture, folder, outcome):
        collector = self.collector(folder)
        Process([*self.command(folder), "-r", capture], f"{folder}/log").end(outcome)
        time.sleep(1)
        collector.end(outcome, signal.SIGTERM)
        outcome.wall_seconds -= 2
        began = outcome.wall_seconds
        self.count(folder, outcome)
        outcome.wall_seconds += began

    def on_wire(self, inside, folder, _wait):
        collector = self.collector(folder, inside)
        return [Process([*self.command(folder), "-i", INTERFACE], f"{folder}/log", inside), collector]

    def stop(self, processes, folder, outcome):
        # At a signal it ends without its last flows.
        subprocess.run(["softflowctl", "-c", f"{folder}/ctl", "shutdown"], check=True, capture_output=True)
        processes[0].end(outcome)
        time.sleep(1)
        processes[1].end(outcome, signal.SIGTERM)
        self.count(folder, outcome)


def installed(tidegate):
    """The programs that are on this machine, and the names of those that are not."""
    found = [Tidegate(tidegate, "headers")]
    missing = []
    for program, make in [
        ("tshark", lambda path: Tidegate(tidegate, "application")),
        ("packetbeat", Packetbeat),
        ("nfpcapd", lambda path: Nfpcapd()),
        ("softflowd", lambda path: Softflowd()),
    ]:
        path = shutil.which(program)
        if path:
            found.append(make(path))
        else:
            missing.append(program)
    return found, missing
