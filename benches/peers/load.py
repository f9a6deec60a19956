"""A capture to measure with: connections over TLS and HTTP, and look-ups by DNS, side by side.

The same bytes on every machine. Of ten flows six are TLS (a ClientHello, 14 packets in all), two HTTP (12), two DNS
(2). Frames are whole, 60 to 610 bytes, and have no checksums: nobody here is asked to verify them.
"""

import random
import struct

MAGIC = 0xA1B2C3D4  # libpcap's format, microseconds: softflowd waits for ever on nanoseconds
BEGAN = 1_700_000_000
# Between two packets of a file, in microseconds.
APART = 10
# Flows that are open at once.
AT_ONCE = 2_000
SYN, SYN_ACK, ACK, DATA, FIN = 0x02, 0x12, 0x10, 0x18, 0x11


def sized(data):
    return struct.pack(">H", len(data)) + data


def client_hello(number):
    name = f"www{number % 5000}.example.org".encode()
    names = sized(b"\0" + sized(name))
    extensions = b"\0\0" + sized(names) + b"\0\x15" + sized(bytes(200))
    body = b"\3\3" + bytes(32) + b"\0" + sized(bytes(32)) + b"\1\0" + sized(extensions)
    message = b"\1\0" + sized(body)
    return b"\x16\3\1" + sized(message)


def frame(ends, protocol, body):
    source, destination, back = ends
    if back:
        source, destination = destination, source
    macs = b"\2\0\0\0\0\1\2\0\0\0\0\2" if back else b"\2\0\0\0\0\2\2\0\0\0\0\1"
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0, source, destination)
    packet = macs + b"\x08\0" + header + body
    return packet + bytes(max(0, 60 - len(packet)))


def connection(client, server, ports, question, answers):
    """A TCP connection: what the client asks, and as many segments of the answer."""
    sent, got = 1_000, 5_000

    def segment(back, flags, payload=b""):
        source, destination = reversed(ports) if back else ports
        numbers = (got, sent) if back else (sent, got)
        acknowledged = 0 if flags == SYN else numbers[1]
        head = struct.pack(">HHIIBBHHH", source, destination, numbers[0], acknowledged, 0x50, flags, 64_000, 0, 0)
        return frame((client, server, back), 6, head + payload)

    yield segment(False, SYN)
    sent += 1
    yield segment(True, SYN_ACK)
    got += 1
    yield segment(False, ACK)
    yield segment(False, DATA, question)
    sent += len(question)
    for number in range(answers):
        payload = (b"\x17\3\3\1\xf4" if ports[1] == 443 else b"HTTP/1.1 200 OK\r\n\r\n") + bytes(500)
        yield segment(True, DATA, payload if number == 0 else payload[:500])
        got += len(payload) if number == 0 else 500
        yield segment(False, ACK)
    yield segment(True, FIN)
    got += 1
    yield segment(False, FIN)
    sent += 1
    yield segment(True, ACK)


def lookup(client, server, port, number):
    name = b"".join(bytes([len(part)]) + part for part in (b"host%d" % (number % 9000), b"example", b"org")) + b"\0"
    question = struct.pack(">HHHHHH", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + name + b"\0\1\0\1"
    answer = struct.pack(">HHHHHH", number & 0xFFFF, 0x8180, 1, 1, 0, 0) + name + b"\0\1\0\1"
    answer += b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + server
    for back, message in ((False, question), (True, answer)):
        ends = (53, port) if back else (port, 53)
        yield frame((client, server, back), 17, struct.pack(">HHHH", *ends, 8 + len(message), 0) + message)


def flow(number):
    client = struct.pack(">I", 0x0A000000 + number // 20_000 * 256 + number % 199 + 1)
    server = struct.pack(">I", 0xC6120000 + number % 60_000)
    port = 20_000 + number % 40_000
    kind = number % 10
    if kind < 6:
        return connection(client, server, (port, 443), client_hello(number), 3)
    if kind < 8:
        request = b"GET /%d HTTP/1.1\r\nUser-Agent: load\r\nHost: shop%d.example\r\n\r\n" % (number, number % 3000)
        return connection(client, server, (port, 80), request, 2)
    return lookup(client, server, port, number)


def packets(count, first_flow=0):
    """So many packets; the last flows may be cut short."""
    chance = random.Random(7)
    number = first_flow
    is_open = []
    while True:
        while len(is_open) < AT_ONCE:
            is_open.append(flow(number))
            number += 1
        at = chance.randrange(AT_ONCE)
        following = next(is_open[at], None)
        if following is None:
            is_open[at] = flow(number)
            number += 1
            continue
        yield following
        count -= 1
        if count == 0:
            return


def write(path, count, snaplen=65_535):
    """Writes so many packets, cut at `snaplen`; answers their bytes on the wire."""
    wire = 0
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", MAGIC, 2, 4, 0, 0, snaplen, 1))
        for number, data in enumerate(packets(count)):
            micros = number * APART
            kept = data[:snaplen]
            seconds = BEGAN + micros // 1_000_000
            out.write(struct.pack("<IIII", seconds, micros % 1_000_000, len(kept), len(data)))
            out.write(kept)
            wire += len(data)
    return wire
