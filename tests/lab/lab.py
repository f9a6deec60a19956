#!/usr/bin/env python3
"""Attacks and ordinary work between two network namespaces, each from an address of its own.

Writes lab.pcap (as the side of the servers sees it), labels.csv (src,label,scenario) and lab.yaml (a config) into a
folder, for `tidegate tune`. As root; everything stays within the namespaces, which are gone afterwards.

    lab.py FOLDER [--short] [--only WORD] [--gate TIDEGATE]

With --gate this program guards the servers meanwhile, and enforces: what it decides is in alerts.ndjson, what it says in
gate.log.
"""

import argparse
import contextlib
import csv
import ctypes
import itertools
import os
import pathlib
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

WIRE = "wire"
SERVER = "10.99.0.1"
SERVER6 = "fd99::1"
# Addresses that all answer, and addresses where nobody is.
ANSWERING = "10.99.16.0/24"
SILENT = "10.99.17.0/24"
# To enter a namespace: setns(2).
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
# Seconds that an attack goes on against a gate.
CUT_OFF = 30
# On the ignore list, and its address.
IGNORED = "vulnerability scanner that is known"
KNOWN = "10.99.3.1"
SSH, WEB, DATABASE, RESOLVER, FLAKY = 22, 80, 5432, 53, 8081


# === the two sides ===


class Side:
    """A network namespace."""

    def __init__(self, name):
        self.name = f"lab-{os.getpid()}-{name}"
        run("ip", "netns", "add", self.name)
        self.run("ip", "link", "set", "lo", "up")

    def command(self, *words):
        return ["ip", "netns", "exec", self.name, *map(str, words)]

    def run(self, *words):
        run(*self.command(*words))

    def enter(self):
        """Moves the calling thread in: sockets that it makes stay there."""
        with open(f"/run/netns/{self.name}", "rb") as space:
            if LIBC.setns(space.fileno(), CLONE_NEWNET) != 0:
                raise OSError(f"can't enter {self.name}")

    def delete(self):
        subprocess.run(["ip", "netns", "delete", self.name], check=False)


class Gate:
    """Tidegate on the side of the servers, judging by what its gate tells."""

    def __init__(self, near, program, folder):
        path = folder / "gate.yaml"
        path.write_text(guarded(folder))
        self.log = folder / "gate.log"
        # Not by `ip netns exec`, which hides the file system that maps are pinned to.
        command = ["nsenter", f"--net=/run/netns/{near.name}", program, "run", "-c", path]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(list(map(str, command)), stderr=log, stdout=log)
        until = time.monotonic() + 300
        while "program" not in self.health(near):
            if self.process.poll() is not None or time.monotonic() > until:
                sys.exit(f"error: the gate did not start:\n{self.log.read_text()}")
            time.sleep(0.2)

    def health(self, near):
        asked = near.command("curl", "--silent", "--max-time", "20", "http://127.0.0.1:9598/health")
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout

    def end(self):
        self.process.terminate()
        return self.process.wait(timeout=300)


def guarded(folder):
    """The config of a gate that enforces."""
    gate = f"lab-{os.getpid()}"
    return (
        f"data_dir: {folder / 'data'}\n"
        f"networks: {{ internal: [10.99.0.0/16, fd99::/16], ignore: [{ignored()}] }}\n"
        "sources:\n"
        f"  {gate}: {{ type: xdp, interface: {WIRE}, persist: false, "
        "firewall: { mode: enforce, allow_empty_allowlist: true } }\n"
        "transforms:\n"
        f"  scored: {{ type: score, inputs: [{gate}.contacts], warmup_secs: 0, block: {{ via: {gate} }} }}\n"
        "sinks:\n"
        f"  flows: {{ type: blackhole, inputs: [{gate}] }}\n"
        f"  alerts: {{ type: file, inputs: [scored.alerts], path: {folder / 'alerts.ndjson'} }}\n"
    )


def run(*words):
    subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)


def lay():
    near, far = Side("near"), Side("far")
    run("ip", "link", "add", WIRE, "netns", near.name, "type", "veth", "peer", "name", WIRE, "netns", far.name)
    for side in (near, far):
        side.run("ethtool", "-K", WIRE, "gro", "off", "gso", "off", "tso", "off")
        side.run("sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", f"net.ipv6.conf.{WIRE}.accept_dad=0")
        side.run("ip", "link", "set", WIRE, "up")
    # As many refusals as there are questions: a limit is another scenario's matter.
    near.run("sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv4.tcp_syncookies=0")
    near.run("ip", "address", "add", f"{SERVER}/16", "dev", WIRE)
    near.run("ip", "address", "add", f"{SERVER6}/64", "dev", WIRE, "nodad")
    near.run("ip", "route", "add", "local", ANSWERING, "dev", "lo")
    near.run("ip", "route", "add", "2001:db8::/32", "dev", WIRE)
    far.run("ip", "address", "add", "10.99.0.254/16", "dev", WIRE)
    far.run("ip", "address", "add", "fd99::fe/64", "dev", WIRE, "nodad")
    for network in (ANSWERING, SILENT):
        far.run("ip", "route", "add", network, "via", SERVER)
    return near, far


# === the servers ===


def serve(near, stop):
    for port, talk in ((SSH, ssh), (WEB, web), (DATABASE, echo), (443, web), (631, echo), (25, echo)):
        thread(near, listen, port, talk, stop)
    thread(near, answer_names, stop)
    flaky = threading.Event()
    thread(near, listen, FLAKY, echo, flaky)
    return flaky


def thread(side, work, *arguments):
    def inside():
        side.enter()
        with contextlib.suppress(OSError):
            work(*arguments)

    started = threading.Thread(target=inside, daemon=True)
    started.start()
    return started


def listen(port, talk, stop):
    server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=512)
    server.settimeout(0.2)
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            connection, _ = server.accept()
            threading.Thread(target=conversation, args=(connection, talk), daemon=True).start()
    server.close()


def conversation(connection, talk):
    with connection, contextlib.suppress(OSError):
        connection.settimeout(300)
        talk(connection)


def ssh(connection):
    connection.sendall(b"SSH-2.0-lab\r\n")
    while data := connection.recv(4096):
        if data.startswith(b"secret"):
            return
        connection.sendall(data)


def web(connection):
    request = b""
    while data := connection.recv(4096):
        request += data
        if request.endswith(b"\r\n\r\n"):
            size = 200_000 if b"/large" in request else 2_000
            connection.sendall(f"HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n".encode() + bytes(size))
            request = b""


def echo(connection):
    while data := connection.recv(65_536):
        connection.sendall(data)


def answer_names(stop):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((SERVER, RESOLVER))
    server.settimeout(0.2)
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            question, sender = server.recvfrom(512)
            server.sendto(question[:2] + b"\x81\x80" + question[4:], sender)


# === clients, within the far side ===


def connect(source, port, to=SERVER, patience=60.0):
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    client = socket.socket(family, socket.SOCK_STREAM)
    client.settimeout(patience)
    client.bind((source, 0))
    client.connect((to, port))
    return client


def ask(source, port, request=b"hello", to=SERVER, patience=60.0):
    with contextlib.suppress(OSError), connect(source, port, to, patience) as client:
        client.sendall(request)
        client.recv(65_536)


def browse(source, times=60):
    for _ in range(times):
        ask(source, random.choice((WEB, 443)), b"GET / HTTP/1.1\r\n\r\n")
        ask(source, DATABASE) if random.random() < 0.1 else time.sleep(random.random() / 5)


def browse6(source, times=40):
    for _ in range(times):
        ask(source, WEB, b"GET / HTTP/1.1\r\n\r\n", SERVER6)
        time.sleep(0.1)


def download(source):
    with connect(source, WEB) as client:
        for _ in range(40):
            client.sendall(b"GET /large HTTP/1.1\r\n\r\n")
            left = 200_040
            while left > 0 and (data := client.recv(65_536)):
                left -= len(data)


def pool(source):
    """A pool that keeps twenty connections to a database and now and then opens one anew."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(source, DATABASE)) for _ in range(20)]
        for _ in range(100):
            client = random.choice(held)
            client.sendall(b"select 1")
            client.recv(64)
            time.sleep(0.1)


def administer(source, hosts=30):
    """A deployment: one login at each of many hosts, all of which take it."""
    for host in range(1, hosts + 1):
        with contextlib.suppress(OSError), connect(source, SSH, f"10.99.16.{host}") as client:
            client.recv(64)
            client.sendall(b"run")
            client.recv(64)
            time.sleep(0.2)


def fetch_by_ssh(source, times=12):
    for _ in range(times):
        with contextlib.suppress(OSError), connect(source, SSH) as client:
            client.recv(64)
            client.sendall(b"git")
            client.recv(64)
        time.sleep(8)


def monitor(source):
    """A monitoring host: 72 checks that are well and 40 that are not, over twelve hosts."""
    checks = [(f"10.99.16.{host}", port) for host in range(1, 13) for port in (WEB, 443, SSH, 25, DATABASE, 631)]
    dead = [(f"10.99.16.{host}", port) for host in range(1, 11) for port in (7001, 7002, 7003, 7004)]
    every = checks + dead
    random.shuffle(every)
    for to, port in every:
        with contextlib.suppress(OSError), connect(source, port, to):
            pass
        time.sleep(0.1)


def balance(source):
    """A balancer's health checks of eight servers, each a whole connection."""
    for _ in range(20):
        for host in range(1, 9):
            with contextlib.suppress(OSError), connect(source, WEB, f"10.99.16.{host}"):
                pass
        time.sleep(1)


def federate(source):
    """A mail server: many peers, a fifth of which are not there."""
    for host in range(1, 60):
        network, patience = (17, 0.7) if host % 5 == 0 else (16, 60)
        with contextlib.suppress(OSError), connect(source, 25, f"10.99.{network}.{host}", patience) as client:
            client.sendall(b"EHLO")
            client.recv(64)


def resolve(source):
    for number in range(500):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(1)
        client.bind((source, 0))
        with client, contextlib.suppress(TimeoutError):
            client.sendto(struct.pack(">6H", number, 0x100, 1, 0, 0, 0) + b"\3lab\7example\0\0\1\0\1", (SERVER, RESOLVER))
            client.recv(512)


def crowd(source, clients=40, times=12):
    """Many clients behind one address: forty pages at a time, some of a host that is away."""
    # By number and not by chance: by chance so many may ask for it at once that it is flooded.
    numbers = itertools.count()

    def one():
        for _ in range(times):
            number = next(numbers)
            port = (WEB, 443)[number // 36 % 2] if number % 36 == 0 else random.choice((WEB, 443))
            to, patience = ("10.99.17.9", 10) if number % 36 == 0 else (f"10.99.16.{random.randrange(1, 60)}", 60)
            ask(source, port, b"GET / HTTP/1.1\r\n\r\n", to, patience)

    at_once(one, clients)


def test_the_speed(source, streams=4):
    """As much as there is room for, on four connections."""
    at_once(lambda: download(source), streams)


def at_once(work, count):
    """So many of it. Threads begin in the namespace of the one that makes them."""

    def one_of_them():
        with contextlib.suppress(OSError):
            work()

    threads = [threading.Thread(target=one_of_them) for _ in range(count)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


def discover_printers(source, times=8):
    """Questions to groups and to a few addresses, which hardly anybody answers."""
    mdns = b"\0" * 4 + b"\0\1" + b"\0" * 6 + b"\4_ipp\4_tcp\5local\0\0\x0c\0\1"
    search = b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nST: ssdp:all\r\n\r\n"
    printers = [f"10.99.16.{host}" for host in (201, 202)]
    asked = [("224.0.0.251", 5353, mdns), ("239.255.255.250", 1900, search), ("10.99.255.255", 161, b"0&\2\1\0")]
    for _ in range(times):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(source))
        client.bind((source, 0))
        with client:
            for to, port, words in asked + [(printer, 161, b"0&\2\1\0") for printer in printers]:
                with contextlib.suppress(OSError):
                    client.sendto(words, (to, port))
        for printer in printers:
            ask(source, 631, b"GET /ipp HTTP/1.1\r\n\r\n", printer)
            ask(source, 9100, b"", printer)
        time.sleep(3)


def watch_an_outage(source, secs=40):
    """Monitoring that goes on while one service of each host is down."""
    until = time.monotonic() + secs
    while time.monotonic() < until:
        for host in range(1, 9):
            for port in (WEB, DATABASE, 631, FLAKY):
                with contextlib.suppress(OSError), connect(source, port, f"10.99.16.{host}", 0.5):
                    pass
        time.sleep(2)


def suffer_an_outage(source, until):
    """A client of a service that goes down in the middle."""
    while time.monotonic() < until:
        ask(source, FLAKY)
        ask(source, WEB, b"GET / HTTP/1.1\r\n\r\n")
        time.sleep(0.5)


def guess(source, pause, times, hosts=1):
    for number in range(times):
        to = SERVER if hosts == 1 else f"10.99.16.{number % hosts + 1}"
        with contextlib.suppress(OSError), connect(source, SSH, to) as client:
            client.recv(64)
            client.sendall(b"secret")
            client.recv(64)
        time.sleep(pause)


def slowloris(source, count=150, secs=40):
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(source, WEB)) for _ in range(count)]
        end = time.monotonic() + secs
        while time.monotonic() < end:
            for client in held:
                with contextlib.suppress(OSError):
                    client.sendall(b"x")
            time.sleep(9)


def hold(source, secs=20):
    """A session that works while its address is spoofed in somebody else's scan."""
    with connect(source, DATABASE) as client:
        for _ in range(secs * 5):
            client.sendall(b"still there")
            if client.recv(64) != b"still there":
                raise OSError("the session broke")
            time.sleep(0.2)


# === scenarios ===


def scenarios(short):
    """Each: label, name, what runs. A list is a command, in which @ is the source."""
    nmap = ["nmap", "-n", "-Pn", "-e", WIRE, "-S", "@", "--max-retries", "1"]
    attack, benign = "attack", "benign"
    quick = [
        (attack, "nmap -sS -T3 1000 ports", [*nmap, "-sS", "-T3", SERVER]),
        (attack, "nmap -sS 20/s", [*nmap, "-sS", "-p1-200", "--scan-delay", "50ms", "--max-retries", "0", SERVER]),
        (attack, "nmap -sS :22 on 256 hosts", [*nmap, "-sS", "-p22", ANSWERING]),
        (attack, "nmap -sS :445 on 128 silent hosts", [*nmap, "-sS", "-p445", "10.99.17.0/25"]),
        (attack, "nmap -sT 200 ports", ["nmap", "-n", "-Pn", "-sT", "-S", "@", "-e", WIRE, "-p1-200", SERVER]),
        (attack, "nmap -sN 100 ports", [*nmap, "-sN", "-p1-100", SERVER]),
        (attack, "nmap -sX 100 ports", [*nmap, "-sX", "-p1-100", SERVER]),
        (attack, "nmap -sA 100 ports", [*nmap, "-sA", "-p1-100", SERVER]),
        (attack, "nmap -sS -f 100 ports", [*nmap, "-sS", "-f", "-p1-100", SERVER]),
        (attack, "nmap -6 -sS 100 ports", ["nmap", "-6", "-n", "-Pn", "-sS", "-S", "@6", "-e", WIRE, "-p1-100", SERVER6]),
        (benign, "browsing", browse),
        (benign, "browsing over IPv6", browse6),
        (benign, "large download", download),
        (benign, "database pool", pool),
        (benign, "deployment at 30 hosts over SSH", administer),
        (benign, "monitoring with 40 of 112 checks failing", monitor),
        (benign, "balancer's health checks of 8 servers", balance),
        (benign, "resolver with 500 questions", resolve),
        (benign, "mail server with 59 peers of which 11 are away", federate),
        (benign, "forty clients behind one address", crowd),
        (benign, "speed test", test_the_speed),
        (benign, "printer discovery", discover_printers),
        (benign, IGNORED, [*nmap, "-sS", "-p1-300", "10.99.16.5"]),
    ]
    if short:
        return quick
    return quick + [
        (attack, "nmap -sS -p- max-rate 5000", [*nmap, "-sS", "-p-", "--max-rate", "5000", SERVER]),
        (attack, "nmap -sS -T2 100 ports", [*nmap, "-sS", "-T2", "-p1-100", SERVER]),
        (attack, "nmap -sS -T1 20 ports", [*nmap, "-sS", "-T1", "-p1-20", SERVER]),
        (attack, "nmap -sS scan-delay 5 s", [*nmap, "-sS", "--scan-delay", "5s", "-p1-24", SERVER]),
        (attack, "nmap -sU 60 ports", [*nmap, "-sU", "-p1000-1060", SERVER]),
        (attack, "nmap -sS with decoys", [*nmap, "-sS", "-p1-300", "-D", "ME,10.99.2.250", SERVER]),
        (attack, "ssh 0.3 s a try", lambda source: guess(source, 0.3, 100)),
        (attack, "ssh 6 s a try", lambda source: guess(source, 6, 60)),
        (attack, "ssh at 5 hosts", lambda source: guess(source, 0.2, 200, 5)),
        (attack, "slowloris", slowloris),
        (attack, "hping3 SYN flood 500/s", ["hping3", "-q", "-a", "@", "-S", "-p", "80", "-i", "u2000", "-c", "10000", SERVER]),
        (attack, "hping3 UDP flood 500/s", ["hping3", "-q", "-a", "@", "-2", "-p", "9999", "-i", "u2000", "-c", "10000", SERVER]),
        (attack, "hping3 ICMP flood 500/s", ["hping3", "-q", "-a", "@", "-1", "-i", "u2000", "-c", "10000", SERVER]),
        (attack, "nmap -sS :3389 on 128 silent hosts", [*nmap, "-sS", "-p3389", "10.99.17.128/25"]),
        (benign, "git over SSH", fetch_by_ssh),
        (benign, "monitoring during an outage", watch_an_outage),
        # What comes of somebody else's flood: answers that nobody asked for. Whoever sends them is a victim.
        (benign, "backscatter", ["hping3", "-q", "-a", "@", "-S", "-A", "-s", "80", "-k", "-p", "++1024", "-i", "u5000", "-c", "1000", SERVER]),
        (benign, "reflected answers", ["hping3", "-q", "-a", "@", "-2", "-s", "53", "-k", "-p", "++2000", "-d", "400", "-i", "u5000", "-c", "1000", SERVER]),
        ("ignore", "spoofed SYN flood", ["hping3", "-q", "--rand-source", "-S", "-p", "443", "-i", "u1000", "-c", "20000", SERVER]),
    ]


class Lab:
    def __init__(self, near, far, labels, patience):
        self.near, self.far, self.labels, self.patience = near, far, labels, patience
        self.failed = []
        self.number = 0

    def address(self, label, scenario, six=False):
        """A new address on the far side, with its label."""
        self.number += 1
        source = KNOWN if scenario == IGNORED else f"10.99.1.{self.number}"
        self.far.run("ip", "address", "add", f"{source}/16", "dev", WIRE)
        if six:
            source = f"2001:db8:{self.number:x}::1"
            self.far.run("ip", "address", "add", f"{source}/64", "dev", WIRE, "nodad")
            self.far.run("ip", "route", "replace", f"{SERVER6}/128", "dev", WIRE)
        self.labels.writerow((source, label, scenario))
        return source

    def begin(self, label, scenario, work):
        six = "IPv6" in scenario or "-6" in scenario
        source = self.address(label, scenario, six)
        if isinstance(work, list):
            words = [source if word in ("@", "@6") else word for word in work]
            return threading.Thread(target=self.attack, args=(scenario, words))

        def inside():
            self.far.enter()
            try:
                work(source)
            except OSError as error:
                self.failed.append(f"{scenario}: {error}")

        return threading.Thread(target=inside)

    def attack(self, scenario, words):
        try:
            ended = subprocess.run(
                self.far.command(*words), capture_output=True, text=True, check=False, timeout=self.patience
            )
        except subprocess.TimeoutExpired:
            # Whoever was cut off goes on for minutes, and finds nothing.
            return
        # hping3 ends with 1 where nothing came back.
        if ended.returncode != 0 and words[0] != "hping3":
            self.failed.append(f"{scenario}: {ended.stderr.strip()[-300:]}")

    def outage(self, flaky):
        """Sixty clients of a service that goes down in the middle, and a victim whose address is spoofed."""
        until = time.monotonic() + 40
        for _ in range(60):
            source = self.address("benign", "client in an outage")
            thread(self.far, suffer_an_outage, source, until)
        threading.Timer(20, flaky.set).start()
        return until


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder", type=pathlib.Path)
    options.add_argument("--short", action="store_true", help="half a minute of it")
    options.add_argument("--gate", type=pathlib.Path, metavar="TIDEGATE", help="the program that guards the servers")
    options.add_argument("--only", default="", help="scenarios whose name holds this")
    asked = options.parse_args()
    if os.geteuid() != 0:
        sys.exit("error: namespaces take root")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    asked.folder.mkdir(parents=True, exist_ok=True)
    random.seed(7)
    stop = threading.Event()
    near, far = lay()
    capture = gate = None
    try:
        if asked.gate:
            gate = Gate(near, asked.gate.resolve(), asked.folder.resolve())
        capture = subprocess.Popen(
            near.command("tcpdump", "-q", "-i", WIRE, "-s", "128", "-B", "65536", "-w", asked.folder / "lab.pcap"),
            stderr=subprocess.DEVNULL,
        )
        flaky = serve(near, stop)
        time.sleep(1)
        with open(asked.folder / "labels.csv", "w", newline="") as file:
            labels = csv.writer(file)
            labels.writerow(("src", "label", "scenario"))
            lab = Lab(near, far, labels, CUT_OFF if gate else None)
            play(lab, asked, flaky)
        (asked.folder / "lab.yaml").write_text(config())
    finally:
        stop.set()
        if capture:
            time.sleep(1)
            capture.terminate()
            capture.wait()
        if gate and gate.end() != 0:
            lab.failed.append(f"the gate:\n{gate.log.read_text()}")
        for side in (near, far):
            side.delete()
    for failed in lab.failed:
        print(f"failed: {failed}", file=sys.stderr)
    print(f"{asked.folder / 'lab.pcap'}: {lab.number} sources")
    sys.exit(1 if lab.failed else 0)


def config():
    """What `tidegate tune -c` is to know of the lab: who is not judged."""
    return (
        f"networks: {{ ignore: [{ignored()}] }}\n"
        "sources: { capture: { type: tshark, mode: file, files: [lab.pcap], dissect: headers } }\n"
        "transforms:\n"
        "  packets: { type: extract, inputs: [capture] }\n"
        "  flows: { type: flow, inputs: [packets] }\n"
        "  scored: { type: score, inputs: [flows, flows.contacts] }\n"
        "sinks: { out: { type: blackhole, inputs: [scored, scored.alerts] } }\n"
    )


def ignored():
    return f'{{ cidr: "{KNOWN}/32", owner: lab, reason: "{IGNORED}", expires: "2099-01-01" }}'


def play(lab, asked, flaky):
    chosen = [one for one in scenarios(asked.short) if asked.only in one[1]]
    running = [lab.begin(*one) for one in chosen]
    if not asked.short and not asked.only:
        victim = "10.99.2.250"
        lab.far.run("ip", "address", "add", f"{victim}/16", "dev", WIRE)
        lab.labels.writerow((victim, "benign", "victim whose address is spoofed"))

        def survive():
            lab.far.enter()
            try:
                hold(victim)
            except OSError as error:
                lab.failed.append(f"victim: {error}")

        running.append(threading.Thread(target=survive))
        lab.outage(flaky)
    for one in running:
        one.start()
    for one in running:
        one.join()


if __name__ == "__main__":
    main()
