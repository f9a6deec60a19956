"""Two network namespaces with a wire between them; nothing else is on it."""

import re
import subprocess
import time

from tools import INTERFACE


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Wire:
    """A veth pair whose near end is listened to. Gone again at the end."""

    def __init__(self, number):
        self.far, self.near = f"peers-{number}-far", f"peers-{number}-near"

    def __enter__(self):
        for side in (self.far, self.near):
            run("ip", "netns", "add", side)
            for scope in ("all", "default"):
                self.inside(side, "sysctl", "-qw", f"net.ipv6.conf.{scope}.disable_ipv6=1")
            self.inside(side, "ip", "link", "set", "lo", "up")
        run("ip", "link", "add", INTERFACE, "netns", self.far, "type", "veth", "peer", "name", INTERFACE, "netns", self.near)
        for side in (self.far, self.near):
            self.inside(side, "ethtool", "-K", INTERFACE, "gro", "off", "gso", "off", "tso", "off")
            self.inside(side, "ip", "link", "set", INTERFACE, "up")
        return self

    def __exit__(self, *_):
        for side in (self.far, self.near):
            run("ip", "netns", "delete", side)

    @staticmethod
    def inside(side, *command):
        return run("ip", "netns", "exec", side, *command)

    def wait_for_a_listener(self, process, patience=20):
        """Until somebody has a packet socket on the near side."""
        until = time.monotonic() + patience
        while len(self.inside(self.near, "cat", "/proc/net/packet").splitlines()) < 2:
            if process.has_ended() or time.monotonic() > until:
                raise RuntimeError(f"nobody listens: {process.log.read_text(errors='replace')[-500:]}")
            time.sleep(0.1)
        time.sleep(1)

    def send(self, capture, rate, packets, of_capture):
        """Sends so many packets at this rate; answers how many went out, and at what rate."""
        loops = max(1, round(packets / of_capture))
        said = self.inside(
            self.far, "tcpreplay", "--intf1", INTERFACE, "--preload-pcap", "--unique-ip", f"--pps={rate}",
            f"--loop={loops}", capture,
        )  # fmt: skip
        sent = int(re.search(r"Successful packets: *(\d+)", said)[1])
        seconds = float(re.search(r"packets \(\d+ bytes\) sent in ([\d.]+) seconds", said)[1])
        return sent, sent / seconds

    def flood(self, packets, rate, count):
        """The same by trafgen, which takes less of the processors than tcpreplay; `packets` is of its own form."""
        command = ["trafgen", "--in", packets, "--out", INTERFACE, "--cpus", "1", "--num", str(count)]
        said = self.inside(self.far, *command, "--rate", f"{rate}pps")
        seconds, micros, sent = map(int, re.search(r"(\d+) sec, (\d+) usec on CPU\d+ \((\d+) packets\)", said).groups())
        return sent, sent / (seconds + micros / 1e6)
