"""Sends and receives what no polite program would: packets made by hand, below the kernel's checks.

raw.py send DEVICE SOURCE DESTINATION PORT TEXT [COUNT]   one UDP datagram (or COUNT) with that source address
raw.py noise DEVICE SOURCE DESTINATION                    malformed packets of every kind known here
raw.py receive PORT                                       prints "SOURCE TEXT" for every datagram that arrives
"""

import ipaddress
import random
import socket
import struct
import sys


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source, destination, protocol, payload, version=4, ihl=5, length=None, fragment=0, ttl=64):
    length = 20 + len(payload) if length is None else length
    head = struct.pack("!BBHHHBBH4s4s", version << 4 | ihl, 0, length, 1, fragment, ttl, protocol, 0,
                       source.packed, destination.packed)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ipv6(source, destination, protocol, payload, length=None):
    length = len(payload) if length is None else length
    return struct.pack("!IHBB16s16s", 6 << 28, length, protocol, 64, source.packed, destination.packed) + payload


def udp(source, destination, port, text):
    length = 8 + len(text)
    pseudo = source.packed + destination.packed + struct.pack("!IHBB", length, 0, 0, 17)
    if source.version == 4:
        pseudo = source.packed + destination.packed + struct.pack("!BBH", 0, 17, length)
    head = struct.pack("!HHH", 4242, port, length)
    return head + struct.pack("!H", checksum(pseudo + head + b"\0\0" + text) or 0xFFFF) + text


def link(device, version):
    """A socket below IP: what it sends leaves by `device` exactly as it is."""
    kind = 0x0800 if version == 4 else 0x86DD
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
    raw.bind((device, kind))
    return raw


def send(device, source, destination, port, text, count="1"):
    source, destination = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    raw = link(device, source.version)
    datagram = udp(source, destination, int(port), text.encode())
    packet = (ipv4 if source.version == 4 else ipv6)(source, destination, 17, datagram)
    for _ in range(int(count)):
        raw.send(packet)


def noise(device, source, destination):
    source, destination = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    raw = link(device, source.version)
    good = udp(source, destination, 9, b"noise")
    bad = []
    if source.version == 4:
        bad += [ipv4(source, destination, 17, good, version=v) for v in range(16) if v not in (4, 6)]
        bad += [ipv4(source, destination, 17, good, ihl=n) for n in (0, 1, 4, 15)]
        bad += [ipv4(source, destination, 17, good, length=n) for n in (0, 19, 1000, 65535)]
        bad += [ipv4(source, destination, 6, b"\0\0", fragment=1)]      # RFC 3128: hides the flags
        bad += [ipv4(source, destination, 17, good)[:n] for n in range(1, 20)]
        broken = bytearray(ipv4(source, destination, 17, good))
        broken[10] ^= 0xFF
        bad.append(bytes(broken))
    else:
        bad += [ipv6(source, destination, 17, good, length=n) for n in (1000, 65535)]
        bad += [ipv6(source, destination, 0, bytes([0, 255]) + bytes(6))]  # an extension header beyond the end
        bad += [ipv6(source, destination, 17, good)[:n] for n in range(1, 40)]
    chance = random.Random(4)
    for _ in range(500):
        packet = bytearray(ipv4(source, destination, 17, good) if source.version == 4
                           else ipv6(source, destination, 17, good))
        for _ in range(chance.randrange(1, 6)):
            packet[chance.randrange(0, 8)] = chance.randrange(256)
        bad.append(bytes(packet))
    for packet in bad:
        try:
            raw.send(packet)
        except OSError:  # the kernel itself refuses some
            pass
    print(len(bad))


def receive(port):
    hear = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    hear.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    hear.bind(("::", int(port)))
    print("listening", flush=True)
    while True:
        text, source = hear.recvfrom(65536)
        print(source[0].removeprefix("::ffff:"), text.decode(errors="replace"), flush=True)


if __name__ == "__main__":
    {"send": send, "noise": noise, "receive": receive}[sys.argv[1]](*sys.argv[2:])
