#!/usr/bin/env python3
"""Measures Tidegate beside its peers: capture files to flows, and live rates. Prints tables in Markdown.

    benches/peers/run.py [--tidegate PATH] [--packets N] [--rates N,N,...] [--seconds N] [files] [live] [limit] [latency]

Peers are taken from PATH: nfpcapd and nfdump, softflowd with nfcapd (Debian packages nfdump and softflowd), packetbeat
(7.17.28: `go build ./packetbeat` in a copy of the module github.com/elastic/beats/v7). What is missing is named.
`live` and `limit` need root, ethtool, and tcpreplay or (`limit`) trafgen of Debian's netsniff-ng; the traffic stays in network namespaces made for it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True

import load  # noqa: E402
import tools  # noqa: E402
from wire import Wire  # noqa: E402

# Packets of the capture that is sent again and again, with other addresses each time.
SENT = 200_000
# Those that trafgen sends again and again.
FLOOD = 20_000
# Packets that those tools are given who take long.
FEW = 200_000


def table(titles, rows):
    print("\n| " + " | ".join(titles) + " |")
    print("|" + "---|" * len(titles))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


def files(arguments, found, folder):
    """Capture file → flows: what a million packets take."""
    captures = {}
    for count in {arguments.packets, min(FEW, arguments.packets)}:
        captures[count] = f"{folder}/{count}.pcap"
        load.write(captures[count], count, snaplen=512)
    rows = []
    for tool in found:
        slow = tool.name.endswith("application")
        count = min(FEW, arguments.packets) if slow else arguments.packets
        for _ in range(arguments.repeat):
            own = tempfile.mkdtemp(dir=folder)
            outcome = tools.Outcome()
            tool.on_file(captures[count], own, outcome)
            shutil.rmtree(own)
            rows.append(
                [
                    tool.name,
                    f"{count:,}",
                    f"{outcome.cpu_seconds / count * 1e6:.2f}",
                    f"{outcome.wall_seconds / count * 1e6:.2f}",
                    f"{outcome.rss_bytes / 1e6:.0f}",
                    f"{outcome.records:,}",
                    f"{outcome.out_bytes / max(outcome.records, 1):.0f}",
                    f"{outcome.packets:,}",
                    "; ".join(outcome.notes),
                ]
            )
    titles = ["", "packets", "CPU-s a million", "wall-s a million", "RSS, MB", "records", "bytes a record"]
    table([*titles, "packets in them", "remarks"], rows)


def once(tool, send, folder, number):
    own = tempfile.mkdtemp(dir=folder)
    outcome = tools.Outcome()
    with Wire(f"{os.getpid()}-{number}") as wire:
        processes = tool.on_wire(wire.near, own, None)
        try:
            wire.wait_for_a_listener(processes[0])
            sent, reached = send(wire)
            stopped = time.monotonic()
            tool.stop(processes, own, outcome)
            drained = time.monotonic() - stopped
        finally:
            for process in processes:
                if process.child.returncode is None:
                    process.end(tools.Outcome(), 9)
    shutil.rmtree(own)
    return outcome, sent, reached, drained


def live_rows(found, send, rates, folder):
    """What comes of each rate with each tool; `send(wire, rate)` answers how many went out, and at what rate."""
    for number, (rate, tool) in enumerate((rate, tool) for rate in rates for tool in found):
        try:
            outcome, sent, reached, drained = once(tool, lambda wire: send(wire, rate), folder, number)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            yield [tool.name, f"{rate:,}", *["–"] * 6, str(error).replace("\n", " ")[-200:]], None
            continue
        lost = sent - outcome.packets
        row = [
            tool.name,
            f"{reached:,.0f}",
            f"{sent:,}",
            f"{lost:,}",
            f"{outcome.cpu_seconds / sent * 1e6:.2f}",
            f"{outcome.rss_bytes / 1e6:.0f}",
            f"{drained:.1f}",
            f"{outcome.records:,}",
            "; ".join(outcome.notes),
        ]
        yield row, lost


TITLES = ["", "packets/s", "sent", "not in flows", "CPU-s a million", "RSS, MB", "stop, s", "records", "remarks"]


def live(arguments, found, folder):
    """The same packets over a wire, to each tool in turn."""
    capture = f"{folder}/sent.pcap"
    load.write(capture, SENT)

    def send(wire, rate):
        return wire.send(capture, rate, rate * arguments.seconds, SENT)

    rows = live_rows(found, send, arguments.rates, folder)
    table(TITLES, (row for row, _ in rows))


def limit(arguments, found, folder):
    """Tidegate by headers at rising rates, up to the first that loses packets, or the sender's last."""
    capture, packets = f"{folder}/sent.pcap", f"{folder}/sent.cfg"
    load.write(capture, FLOOD)
    subprocess.run(["netsniff-ng", "--silent", "--in", capture, "--out", packets], check=True, stdout=subprocess.DEVNULL)

    def send(wire, rate):
        return wire.flood(packets, rate, rate * arguments.seconds)

    def rows():
        for rate in range(arguments.rates[0], 2_000_001, 40_000):
            for row, lost in live_rows(found[:1], send, [rate], folder):
                yield row
            if lost is None or lost > 0 or float(row[1].replace(",", "")) < rate * 0.95:
                return

    table(TITLES, rows())


def latency(arguments, found, folder):
    """From a packet's time stamp to its record on standard output: `mode: pipe`, 500 packets a second."""
    capture = f"{folder}/sent.pcap"
    load.write(capture, 5_000)
    tool = found[0]
    sink = "type: console, encoding: { schema: simple }"
    config = tool.config(folder, f"interface: {tools.INTERFACE}, mode: pipe", sink)
    text = Path(config).read_text().replace("inputs: [flows]", "inputs: [packets]")
    Path(config).write_text(text.replace("  flows: { type: flow, inputs: [packets] }\n", ""))
    took = []
    with Wire(f"{os.getpid()}-latency") as wire:
        command = ["ip", "netns", "exec", wire.near, tool.program, "run", "-c", config]
        log = open(f"{folder}/log", "wb")
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        try:
            while len(wire.inside(wire.near, "cat", "/proc/net/packet").splitlines()) < 2:
                time.sleep(0.1)
            sender = subprocess.Popen(
                ["ip", "netns", "exec", wire.far, "tcpreplay", "--intf1", tools.INTERFACE, "--pps=500", capture],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            for line in running.stdout:
                now = time.time_ns()
                stamp = json.loads(line)["timestamp"].rstrip("Z")
                whole, _, fraction = stamp.partition(".")
                seconds = time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) - time.timezone
                took.append(now - int(seconds) * 10**9 - int(fraction.ljust(9, "0")))
                if len(took) == 5_000:
                    break
            sender.wait()
        finally:
            running.terminate()
            running.wait()
    took.sort()
    at = {share: took[min(len(took) - 1, int(len(took) * share))] / 1e6 for share in (0.01, 0.5, 0.9, 0.99, 1.0)}
    table(["records", *(f"p{share * 100:g}, ms" for share in at)], [[len(took), *(f"{ms:.0f}" for ms in at.values())]])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tidegate", default="target/release/tidegate")
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--rates", type=lambda text: [int(rate) for rate in text.split(",")], default=[40_000, 160_000])
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--only", default="", help="tools whose names hold this")
    parser.add_argument("what", nargs="*", default=["files", "live", "limit", "latency"])
    arguments = parser.parse_args()
    arguments.packets = min(arguments.packets, 5_000_000)
    found, missing = tools.installed(os.path.abspath(arguments.tidegate))
    found = [tool for tool in found if arguments.only in tool.name]
    if missing:
        print(f"not on this machine, and not measured: {', '.join(missing)}", file=sys.stderr)
    for what in arguments.what:
        with tempfile.TemporaryDirectory() as folder:
            {"files": files, "live": live, "limit": limit, "latency": latency}[what](arguments, found, folder)


if __name__ == "__main__":
    main()
