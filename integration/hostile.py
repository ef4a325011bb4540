"""What a vassal with CAP_NET_RAW may send, and what must become of each frame.

hostile.py send DEVICE FRAMES NEWS ORDERS   sends FRAMES frames, class by class; after each class it writes a line to
                                            NEWS and waits for one from ORDERS
hostile.py count CAPTURE WHO WRONG END      prints "CLASS PACKETS" for every class of which a packet was captured at WHO
                                            (alice, bob, carol, uplink) before one with the text END; each that WHO may
                                            not get is a line in WRONG

The line of NEWS: CLASS FATE ACCEPTED REFUSED TAKEN PINGS. ACCEPTED and REFUSED are what the kernel said when the frames
were sent, TAKEN is how many have been read from the device since: a super-frame that the kernel cuts itself is several,
one that it drops is none. PINGS of them are pings of carol. FATE is the reason by which all others are dropped at the
sender's expense, or `carol:REASON`, or where they arrive: `to-carol`, `to-host`; `any`: each may have its own.

Every frame carries the number of its class: its IPv4 identification or IPv6 flow label is 0x4000 + 64 * NUMBER. A
kernel that cuts a super-frame counts the identification up.
"""

import ctypes
import ipaddress
import os
import random
import socket
import struct
import sys
import time

from raw import checksum

VARIANTS = 128    # different frames of each class; of those in which each is another, more
WINDOW = 512      # frames that may wait in the device's queue of 1000
BATCH = 128       # frames to one system call
CUT = 64          # frames that the kernel cuts itself, between two looks whether the queue is empty

ip = ipaddress.ip_address
ME, CAROL, HOST, NOBODY = ip("10.107.0.66"), ip("10.107.0.4"), ip("10.107.0.1"), ip("10.107.0.99")
ME6, CAROL6, HOST6, NOBODY6 = ip("fd00:107::66"), ip("fd00:107::4"), ip("fd00:107::1"), ip("fd00:107::99")
OTHERS = [ip(a) for a in ("10.107.0.2", "10.107.0.3", "10.107.0.4", "10.107.0.1", "10.107.0.99", "10.107.0.255",
                          "198.51.100.1", "8.8.8.8", "127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1")]
OTHERS6 = [ip(a) for a in ("fd00:107::2", "fd00:107::3", "fd00:107::4", "fd00:107::1", "fd00:107::99",
                           "2001:db8:1::1", "fe80::66", "::1", "::", "ff02::1", "::ffff:10.107.0.66")]
TCP, UDP = 6, 17
number = 0        # of the class that is being built


# ---- frames ---------------------------------------------------------------------------------------------

def mark():
    return 0x4000 | number << 6


def v4(body, protocol=UDP, source=ME, to=CAROL, options=b"", fragment=0, more=False, df=False, ttl=64, version=4,
       header=None, length=None, wrong=0):
    size = 20 + len(options) + len(body)
    head = struct.pack("!BBHHHBBH4s4s", version << 4 | ((20 + len(options)) // 4 if header is None else header), 0,
                       size if length is None else length, mark(),
                       fragment | more << 13 | df << 14, ttl, protocol, 0, source.packed, to.packed) + options
    head = head[:10] + struct.pack("!H", checksum(head) ^ wrong) + head[12:]
    return head + body


def v6(body, protocol=UDP, source=ME6, to=CAROL6, extensions=(), ttl=64, length=None):
    """`extensions`: (number, bytes behind the next-header byte)."""
    chain, numbers = b"", [number for number, _ in extensions] + [protocol]
    for following, (_, rest) in zip(numbers[1:], extensions):
        chain += bytes([following]) + rest
    size = len(chain) + len(body)
    return struct.pack("!IHBB16s16s", 6 << 28 | mark(), size if length is None else length, numbers[0], ttl,
                       source.packed, to.packed) + chain + body


def data(chance, least=0, most=400):
    return b"HOSTILE" + chance.randbytes(chance.randint(least, most))


def udp(chance, port=9, least=0, most=400):
    text = data(chance, least, most)
    return struct.pack("!HHHH", 4242, port, 8 + len(text), 0) + text


def tcp(chance, port=9, flags=0x10, words=5, text=None):
    return struct.pack("!HHIIBBHHH", 4242, port, chance.getrandbits(32), 0, words << 4, flags, 1000, 0, 0) + (
        data(chance) if text is None else text)


def even(chance, units):
    return chance.randbytes(8 * units)


def piece(offset, more):
    """An IPv6 fragment header."""
    return 44, struct.pack("!BHI", 0, offset << 3 | more, 7)


def padding(kind=60, units=0):
    length = 8 * units + 6
    return kind, bytes([units, 1, length - 2]) + bytes(length - 2)


def chain(chance):
    """One to eight extension headers in an order that is allowed."""
    kinds = [lambda: padding(60, chance.randrange(3)),
             lambda: (43, bytes([0, chance.choice([2, 3, 4]), 0, 0, 0, 0, 0])),
             lambda: (51, bytes([1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]))]
    first = [padding(0, chance.randrange(3))] if chance.random() < 0.5 else []
    return first + [chance.choice(kinds)() for _ in range(chance.randint(1, 8 - len(first)))]


def header(flags=0, gso=0, advice=0, size=0, start=0, offset=0):
    """struct virtio_net_hdr"""
    return struct.pack("<BBHHHH", flags, gso, advice, size, start, offset)


# ---- classes: name, fate, how one frame is made -----------------------------------------------------------

def plain_v4():
    group = [ip(a) for a in ("224.0.0.1", "239.255.255.255", "255.255.255.255", "10.107.0.0", "10.107.0.255")]
    nowhere = [ip(a) for a in ("0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.255")]
    away = [ip(a) for a in ("198.51.100.77", "192.0.2.1", "8.8.8.8", "169.254.169.254", "10.107.0.1")]
    good = [b"\1" * 4, b"\1" * 40, b"\7\7\4\0\0\0\0\0", b"\x44\x0c\5\0" + bytes(8), b"\x94\4\0\0", b"\0\x83\3\4"]
    return [
        ("v4-version", "malformed", lambda c: v4(udp(c), version=c.choice([0, 1, 2, 3, 5, 7, 10, 15]))),
        ("v4-header-short", "malformed", lambda c: v4(udp(c), header=c.randrange(5))),
        ("v4-header-beyond", "malformed", lambda c: v4(c.randbytes(c.randrange(40)), header=15)),
        ("v4-length", "malformed", lambda c: v4(udp(c), length=c.choice([0, 19, 20, 27, 600, 9000, 65535]))),
        ("v4-cut-header", "malformed", lambda c: v4(udp(c))[:c.randrange(1, 20)]),
        ("v4-cut", "malformed", lambda c: v4(udp(c, least=99))[:c.randrange(20, 120)]),
        ("v4-trailing", "malformed", lambda c: v4(udp(c)) + bytes(c.randrange(1, 40))),
        ("v4-checksum", "malformed", lambda c: v4(udp(c), wrong=c.randrange(1, 0xFFFF))),
        ("v4-option-short", "malformed", lambda c: v4(udp(c), options=bytes([7, c.randrange(2), 4, 0]))),
        ("v4-option-beyond", "malformed",
         lambda c: v4(udp(c), options=bytes([1, 7, c.randrange(8, 255), 4]) + bytes(4))),
        ("v4-source-route", "malformed",
         lambda c: v4(udp(c), options=b"\1" + bytes([c.choice([131, 137]), 7, 4]) + CAROL.packed)),
        ("v4-tiny-fragment", "malformed", lambda c: v4(even(c, c.randint(1, 2)), TCP, more=True)),
        ("v4-overwriting-fragment", "malformed", lambda c: v4(even(c, 4), TCP, fragment=1, more=c.random() < 0.5)),
        ("v4-ping-of-death", "malformed",
         lambda c: v4(c.randbytes(c.randint(8, 99)), c.choice([1, TCP, UDP]), fragment=0x1FFF)),
        ("v4-fragment-off-raster", "malformed", lambda c: v4(even(c, 3) + b"x", fragment=c.randint(2, 99), more=True)),
        ("v4-fragment-empty", "malformed", lambda c: v4(b"", fragment=c.randint(1, 0x1FFF), more=c.random() < 0.5)),
        ("v4-tcp-cut", "malformed", lambda c: v4(tcp(c)[:c.randrange(20)], TCP)),
        ("v4-udp-cut", "malformed", lambda c: v4(udp(c)[:c.randrange(8)])),
        ("v4-tcp-header", "malformed", lambda c: v4(tcp(c, words=c.choice([0, 4, 15]), text=b"HOSTILE"), TCP)),
        ("v4-nowhere", "malformed", lambda c: v4(udp(c), to=c.choice(nowhere))),
        ("v4-group", "multicast", lambda c: v4(udp(c), to=c.choice(group))),
        ("v4-spoofed", "spoofed", lambda c: v4(udp(c), source=c.choice(OTHERS), to=c.choice([CAROL, HOST]))),
        ("v4-spoofed-tcp", "spoofed", lambda c: v4(tcp(c, flags=c.choice([2, 4, 16])), TCP, source=c.choice(OTHERS))),
        ("v4-spoofed-fragment", "spoofed",
         lambda c: v4(even(c, 3), source=c.choice(OTHERS), fragment=c.randint(2, 99), more=c.random() < 0.5)),
        ("v4-spoofed-options", "spoofed", lambda c: v4(udp(c), source=c.choice(OTHERS), options=c.choice(good))),
        ("v4-nobody", "no_route", lambda c: v4(udp(c), to=NOBODY)),
        ("v4-itself", "no_route", lambda c: v4(tcp(c, flags=2), TCP, to=ME)),
        ("v4-denied", "denied", lambda c: v4(udp(c, port=c.choice([1, 2])))),
        ("v4-denied-by-carol", "carol:denied", lambda c: v4(udp(c, port=3))),
        ("v4-last-hop", "ttl_expired", lambda c: v4(udp(c), ttl=c.randrange(2))),
        ("v4-too-big", "carol:too_big", lambda c: v4(udp(c, least=1260, most=1460), df=True)),
        ("v4-long", "to-carol", lambda c: v4(udp(c, least=1260, most=1460))),
        ("v4-options", "to-carol", lambda c: v4(udp(c), options=c.choice(good))),
        ("v4-first-fragment", "to-carol", lambda c: v4(udp(c, least=1, most=1) + even(c, 3), more=True)),
        ("v4-later-fragment", "to-carol",
         lambda c: v4(even(c, 3), c.choice([TCP, UDP, 1]), fragment=c.randint(2, 99), more=c.random() < 0.5)),
        ("v4-protocol", "to-carol", lambda c: v4(c.randbytes(c.randrange(60)), c.choice([0, 2, 41, 50, 132, 255]))),
        ("v4-icmp", "to-carol", lambda c: v4(c.randbytes(c.randrange(60)), 1)),
        ("v4-tcp-flags", "to-carol", lambda c: v4(tcp(c, flags=c.choice([0, 0x29, 0x3F, 0xFF])), TCP)),
        ("v4-outward", "to-host", lambda c: v4(udp(c), to=c.choice(away))),
    ]


def plain_v6():
    group = [ip(a) for a in ("ff02::1", "ff02::2", "ff02::16", "ff05::1:3", "ff0e::1")]
    away = [ip(a) for a in ("2001:db8:1::77", "2001:db8:2::1", "fd00:108::1", "fd00:107::1")]
    return [
        ("v6-length", "malformed", lambda c: v6(udp(c), length=c.choice([0, 7, 600, 9000, 65535]))),
        ("v6-cut-header", "malformed", lambda c: v6(udp(c))[:c.randrange(1, 40)]),
        ("v6-cut", "malformed", lambda c: v6(udp(c, least=99))[:c.randrange(40, 140)]),
        ("v6-trailing", "malformed", lambda c: v6(udp(c)) + bytes(c.randrange(1, 40))),
        ("v6-extension-beyond", "malformed",
         lambda c: v6(udp(c), extensions=[(60, bytes([c.randint(99, 255)]) + bytes(6))])),
        ("v6-extension-cut", "malformed", lambda c: v6(c.randbytes(c.randrange(8)), c.choice([0, 43, 44, 51, 60]))),
        ("v6-nine-extensions", "malformed", lambda c: v6(udp(c), extensions=[padding()] * c.randint(9, 40))),
        ("v6-hop-by-hop-later", "malformed", lambda c: v6(udp(c), extensions=[padding(), padding(0)])),
        ("v6-routing-0", "malformed",
         lambda c: v6(udp(c), extensions=[padding()] * c.randrange(3)
                      + [(43, bytes([2, 0, 1, 0, 0, 0, 0]) + CAROL6.packed)])),
        ("v6-two-fragments", "malformed", lambda c: v6(udp(c), extensions=[piece(0, 0), piece(0, 0)])),
        ("v6-tiny-fragment", "malformed", lambda c: v6(even(c, c.randint(1, 2)), TCP, extensions=[piece(0, 1)])),
        ("v6-overwriting-fragment", "malformed", lambda c: v6(even(c, 4), TCP, extensions=[piece(1, 0)])),
        ("v6-ping-of-death", "malformed", lambda c: v6(even(c, 9), 58, extensions=[piece(0x1FFF, 0)])),
        ("v6-fragment-off-raster", "malformed", lambda c: v6(even(c, 3) + b"x", extensions=[piece(5, 1)])),
        ("v6-fragment-empty", "malformed", lambda c: v6(b"", extensions=[piece(c.randint(1, 0x1FFF), 0)])),
        ("v6-tcp-cut", "malformed", lambda c: v6(tcp(c)[:c.randrange(20)], TCP)),
        ("v6-udp-cut", "malformed", lambda c: v6(udp(c)[:c.randrange(8)], extensions=[padding()] * c.randrange(8))),
        ("v6-nowhere", "malformed", lambda c: v6(udp(c), to=c.choice([ip("::"), ip("::1")]))),
        ("v6-group", "multicast", lambda c: v6(udp(c), to=c.choice(group))),
        ("v6-spoofed", "spoofed", lambda c: v6(udp(c), source=c.choice(OTHERS6), to=c.choice([CAROL6, HOST6]))),
        ("v6-spoofed-chain", "spoofed", lambda c: v6(udp(c), source=c.choice(OTHERS6), extensions=chain(c))),
        ("v6-spoofed-fragment", "spoofed",
         lambda c: v6(even(c, 3), source=c.choice(OTHERS6), extensions=[piece(c.randint(2, 99), 1)])),
        ("v6-nobody", "no_route", lambda c: v6(udp(c), to=NOBODY6)),
        ("v6-itself", "no_route", lambda c: v6(tcp(c, flags=2), TCP, to=ME6)),
        ("v6-link-local", "no_route", lambda c: v6(udp(c), to=ip("fe80::1"))),
        ("v6-denied", "denied", lambda c: v6(udp(c, port=c.choice([1, 2])), extensions=chain(c))),
        ("v6-denied-by-carol", "carol:denied", lambda c: v6(udp(c, port=3), extensions=chain(c))),
        ("v6-last-hop", "ttl_expired", lambda c: v6(udp(c), ttl=c.randrange(2))),
        ("v6-too-big", "carol:too_big", lambda c: v6(udp(c, least=1260, most=1440))),
        ("v6-chain", "to-carol", lambda c: v6(udp(c), extensions=chain(c))),
        ("v6-chain-to-nothing", "to-carol", lambda c: v6(b"", 59, extensions=chain(c))),
        ("v6-first-fragment", "to-carol", lambda c: v6(udp(c, least=1, most=1) + even(c, 3), extensions=[piece(0, 1)])),
        ("v6-later-fragment", "to-carol",
         lambda c: v6(even(c, 3), c.choice([TCP, UDP, 0, 43, 44, 58]), extensions=[piece(c.randint(2, 99), 1)])),
        ("v6-atomic-fragment", "to-carol", lambda c: v6(udp(c), extensions=[piece(0, 0)])),
        ("v6-protocol", "to-carol",
         lambda c: v6(c.randbytes(c.randrange(60)), c.choice([2, 41, 50, 59, 132, 135, 255]))),
        ("v6-icmp", "to-carol", lambda c: v6(c.randbytes(c.randrange(60)), 58)),
        ("v6-outward", "to-host", lambda c: v6(udp(c), to=c.choice(away))),
    ]


def super4(chance, size, kind=1, source=ME, to=CAROL, length=3000):
    return header(1, kind, 0, size, 20, 16) + v4(tcp(chance, text=chance.randbytes(length)), TCP, source, to, df=True)


def super6(chance, size, kind=4, source=ME6, to=CAROL6, length=3000):
    return header(1, kind, 0, size, 40, 16) + v6(tcp(chance, text=chance.randbytes(length)), TCP, source, to)


def datagrams(chance, size, kind=5, source=ME):
    return header(1, kind, 0, size, 20, 6) + v4(udp(chance, least=3000, most=3000), source=source)


def with_header():
    """Behind a virtio header (PACKET_VNET_HDR); the kernel takes some and changes or drops others."""
    both = lambda c: c.choice([v4(tcp(c), TCP), v6(tcp(c), TCP)])
    start = lambda frame: 20 if frame[0] >> 4 == 4 else 40

    def checksum_at(chance, offset, move=0):
        frame = both(chance)
        return header(1, start=start(frame) + move, offset=offset) + frame

    def anything(chance):
        """A header that is nearly right before a packet that it might fit."""
        much = lambda: chance.randbytes(chance.choice([0, 9, 500, 3000]))
        frame = chance.choice([
            lambda: v4(tcp(chance, text=much()), TCP, df=True), lambda: v6(tcp(chance, text=much()), TCP),
            lambda: v4(udp(chance, most=1000) + much()), lambda: v6(udp(chance, most=1000) + much()),
            lambda: v4(tcp(chance, text=much()), TCP, options=b"\1" * 8),
            lambda: v6(tcp(chance, text=much()), TCP, extensions=chain(chance)),
            lambda: v4(tcp(chance, words=chance.randrange(16), text=much()), TCP, more=chance.random() < 0.2)])()
        is_tcp = frame[9 if frame[0] >> 4 == 4 else 6] == TCP
        kind = (1 if frame[0] >> 4 == 4 else 4) if is_tcp else 5
        fields = [1, kind, 0, chance.choice([1, 8, 100, 1000, 1400, 2900]), start(frame), 16 if is_tcp else 6]
        for _ in range(chance.randrange(3)):
            at = chance.randrange(6)
            fields[at] = chance.choice([0, 1, 2, 3, 4, 5, 0x80 | kind, chance.randrange(60)])
        if len(frame) <= 1500 and chance.random() < 0.5:
            fields[1] = 0
        return header(*fields) + frame

    return [
        ("vnet-unknown-flags", "to-carol", lambda c: header(c.choice([2, 4, 8, 0xFE])) + both(c)),
        ("vnet-checksum", "to-carol", lambda c: checksum_at(c, 16)),
        ("vnet-checksum-elsewhere", "malformed", lambda c: checksum_at(c, c.choice([0, 2, 14, 17, 22]))),
        ("vnet-checksum-in-the-address", "malformed", lambda c: checksum_at(c, c.choice([0, 2, 16]), -8)),
        ("vnet-checksum-beyond", "malformed", lambda c: checksum_at(c, c.choice([500, 2000, 65535]))),
        ("vnet-tso", "to-carol", lambda c: c.choice([super4, super6])(c, c.choice([8, 100, 536, 1220]))),
        ("vnet-tso-too-big", "carol:too_big", lambda c: c.choice([super4, super6])(c, c.choice([1280, 1400, 2900]))),
        ("vnet-tso-tiny", "malformed", lambda c: c.choice([super4, super6])(c, c.randrange(1, 8))),
        ("vnet-tso-of-nothing", "malformed", lambda c: c.choice([super4, super6])(c, 0)),
        ("vnet-tso-of-the-other-family", "malformed", lambda c: c.choice([super4(c, 1000, 4), super6(c, 1000, 1)])),
        ("vnet-tso-spoofed", "spoofed", lambda c: super4(c, 1000, source=c.choice(OTHERS))),
        ("vnet-uso", "to-carol", lambda c: datagrams(c, c.choice([100, 536, 1220]))),
        ("vnet-uso-spoofed", "spoofed", lambda c: datagrams(c, 1000, source=c.choice(OTHERS))),
        ("vnet-ufo", "to-carol", lambda c: datagrams(c, 1000, kind=3)),
        ("vnet-ecn", "to-carol", lambda c: c.choice([super4(c, 1000, 0x81), super6(c, 1000, 0x84)])),
        ("vnet-tso-outward", "to-host", lambda c: c.choice([super4(c, 1000, to=HOST), super6(c, 1000, to=HOST6)])),
        ("vnet-anything", "any", anything),
    ]


def damaged(chance):
    """Any of the plain frames with a few other bytes behind its mark, some made whole again."""
    _, _, make = chance.choice(plain_v4() + plain_v6())
    frame = bytearray(make(chance))
    for _ in range(chance.randint(1, 4)):
        frame[chance.randrange(min(6, len(frame) - 1), len(frame))] = chance.randrange(256)
    size = (frame[0] & 15) * 4
    if frame[0] >> 4 == 4 and 20 <= size <= len(frame) and chance.random() < 0.7:
        frame[2:4] = len(frame).to_bytes(2)
        frame[10:12] = bytes(2)
        frame[10:12] = checksum(bytes(frame[:size])).to_bytes(2)
    return bytes(frame)


# ---- sending --------------------------------------------------------------------------------------------------

class Piece(ctypes.Structure):
    _fields_ = [("base", ctypes.c_char_p), ("length", ctypes.c_size_t)]


class Header(ctypes.Structure):
    """struct msghdr"""
    _fields_ = [("name", ctypes.c_void_p), ("name_length", ctypes.c_uint), ("pieces", ctypes.POINTER(Piece)),
                ("count", ctypes.c_size_t), ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t),
                ("flags", ctypes.c_int)]


class Message(ctypes.Structure):
    """struct mmsghdr"""
    _fields_ = [("header", Header), ("sent", ctypes.c_uint)]


class Device:
    """Frames below IP: what is sent here leaves by the device exactly as it is."""
    libc = ctypes.CDLL(None, use_errno=True)

    def __init__(self, name):
        statistics = f"/sys/class/net/{name}/statistics/"
        self.counters = [os.open(statistics + counter, os.O_RDONLY) for counter in ("tx_packets", "tx_dropped")]
        self.sockets, self.pings = [], 0
        for behind in (0, 1):
            link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            link.setsockopt(263, 15, behind)  # SOL_PACKET, PACKET_VNET_HDR
            link.bind((name, 0))
            self.sockets.append(link)

    def gone(self):
        """How many frames have been read from the device, and how many the kernel has dropped."""
        return [int(os.pread(counter, 32, 0)) for counter in self.counters]

    def drain(self, accepted, before, most):
        """Waits until at most `most` of the frames accepted since `before` can be in the queue."""
        while accepted - sum(self.gone()) + sum(before) > most:
            os.sched_yield()

    def send(self, frames, count, behind, cut):
        """Sends `count` frames; gives how many were accepted, refused and read from the device, and how many pings
        are among the last. `cut`: the kernel may make several of one."""
        size = len(frames)
        pieces = (Piece * size)(*[Piece(frame, len(frame)) for frame in frames])
        messages = (Message * size)()
        for piece, message in zip(pieces, messages):
            message.header.pieces, message.header.count = ctypes.pointer(piece), 1
        fd, accepted, refused, before, pings = self.sockets[behind].fileno(), 0, 0, self.gone(), self.pings
        while accepted + refused < count:
            if cut:
                self.settle()
            else:
                self.drain(accepted, before, WINDOW - BATCH)
            at = (accepted + refused) % size
            some = min(size - at, count - accepted - refused, CUT if cut else BATCH)
            sent = self.libc.sendmmsg(fd, ctypes.byref(messages, at * ctypes.sizeof(Message)), some, 0)
            if sent > 0:
                accepted += sent
            else:
                refused += 1
        self.settle()
        return accepted, refused, self.gone()[0] - before[0], self.pings - pings

    def settle(self):
        """Pings carol: the answer proves that all frames sent before have been read and judged."""
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as link:
            patience = 0.02
            while not self.answered(link, self.ping(), patience):
                patience = min(2 * patience, 2)  # it is slow, or what the kernel cut has filled the queue

    def answered(self, link, answer, seconds):
        """Whether that answer comes in time. An earlier one would not say that the last ping has been read."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            link.settimeout(left)
            try:
                if link.recv(2000)[20:28] == answer:
                    return True
            except TimeoutError:
                break
        return False

    def ping(self):
        """Sends one, and gives what the answer will be."""
        self.pings += 1
        rest = struct.pack("!HH", 0x4E4E, self.pings & 0xFFFF)
        question, answer = (bytes([kind, 0]) + struct.pack("!H", checksum(bytes([kind, 0, 0, 0]) + rest)) + rest
                            for kind in (8, 0))
        self.sockets[0].send(v4(question, 1))
        return answer


def classes():
    """Each class, its fate, whether its frames stand behind a virtio header, and the frames."""
    global number
    number = 0
    anything = lambda: [("anything", "any", damaged)]
    for make, behind in ((plain_v4, 0), (plain_v6, 0), (anything, 0), (with_header, 1)):
        for name, fate, frame in make():
            number += 1
            chance = random.Random(name)
            frames = [frame(chance) for _ in range(VARIANTS * 32 if fate == "any" else VARIANTS)]
            yield name, fate, behind, frames
    number = 0


def send(device, count, news, orders):
    global number
    device, everything = Device(device), list(classes())
    with open(news, "w") as news, open(orders) as orders:
        print("ready", file=news, flush=True)
        orders.readline()
        shares = [4 if fate == "any" else 1 for _, fate, _, _ in everything]
        for at, (name, fate, behind, frames) in enumerate(everything):
            number = at + 1  # of the pings in between
            share = int(count) * shares[at] // sum(shares) + 1
            cut = name in ("vnet-anything", "vnet-ufo", "vnet-ecn")
            print(name, fate, *device.send(frames, share, behind, cut), file=news, flush=True)
            orders.readline()
        print("end", file=news, flush=True)
        orders.readline()


# Whom a frame may reach, and what it must not be: judged from the bytes alone, by other code than the router's.
ADDRESSES = {"alice": ("10.107.0.2", "fd00:107::2"), "bob": ("10.107.0.3", "fd00:107::3"),
             "carol": ("10.107.0.4", "fd00:107::4")}
INSIDE = [ipaddress.ip_network(net) for net in ("10.107.0.0/24", "fd00:107::/64")]


def why_not(packet, whole, who):
    """Why `who` may not get a packet whose first bytes these are and whose length is `whole`; None if it may."""
    version = packet[0] >> 4
    if version == 4:
        size = (packet[0] & 15) * 4
        if size < 20 or len(packet) < size or checksum(packet[:size]):
            return "a broken header"
        length, hops, protocol = int.from_bytes(packet[2:4]), packet[8], packet[9]
        source, to, fragment = ip(packet[12:16]), ip(packet[16:20]), int.from_bytes(packet[6:8]) & 0x1FFF
    elif version == 6 and len(packet) >= 40:
        length, hops = 40 + int.from_bytes(packet[4:6]), packet[7]
        source, to = ip(packet[8:24]), ip(packet[24:40])
        protocol, size, fragment = behind_extensions(packet)
    else:
        return "no IP"
    if length != whole:
        return f"{length} bytes long by its own word, in truth {whole}"
    if hops == 0 and who != "uplink":  # there it is for the host's kernel to say
        return "no hops left"
    if source not in (ME, ME6):
        return f"a forged source, {source}"
    if not fragment and protocol == UDP and int.from_bytes(packet[size + 2:size + 4]) in (1, 2, *([3] * (who == "carol"))):
        return "a port that is denied"
    if who == "uplink":
        inside = any(to in net for net in INSIDE if net.version == version) and to not in (HOST, HOST6)
        wrong = inside or to.is_multicast or to.is_loopback or to.is_unspecified or to.is_link_local and version == 6
    else:
        wrong = str(to) not in ADDRESSES[who]
    return f"meant for {to}" if wrong else None


def behind_extensions(packet):
    """What an IPv6 packet carries: its protocol, where that begins, and the fragment offset, as far as captured."""
    protocol, at, fragment = packet[6], 40, 0
    while protocol in (0, 43, 44, 51, 60) and at + 8 <= len(packet) and not fragment:
        if protocol == 44:
            fragment = int.from_bytes(packet[at + 2:at + 4]) >> 3
        size = 8 if protocol == 44 else (packet[at + 1] + 2) * 4 if protocol == 51 else (packet[at + 1] + 1) * 8
        protocol, at = packet[at], at + size
    return protocol, at, fragment


def of_alice_and_bob(packet):
    """Whether it is one of the pings between them, or its answer."""
    ends = {str(ip(packet[at:at + 4])) for at in (12, 16)} if packet[0] == 0x45 else set()
    return ends == {"10.107.0.2", "10.107.0.3"} and packet[9] == 1 and packet[20] in (0, 8) and packet[2:4] == b"\0\x54"


def of_sender(packet):
    """Whether it is one of the pings by which the sender waits."""
    return packet[0] == 0x45 and packet[9] == 1 and packet[20:22] == b"\x08\0" and packet[24:26] == b"NN"


def count(capture, who, wrong, end):
    names = [name for name, *_ in classes()]
    seen = dict.fromkeys(names, 0)
    with open(capture, "rb") as file, open(wrong, "w") as wrong:
        file.read(24)
        while record := file.read(16):
            length, whole = struct.unpack("=IIII", record)[2:]
            packet = file.read(length)
            if end.encode() in packet:
                break
            if of_alice_and_bob(packet):
                continue
            field = packet[4:6] if packet[0] >> 4 == 4 else packet[2:4]
            at = (int.from_bytes(field) - 0x4000) // 64
            # The last class may be cut into more pieces than there are numbers for one.
            seen_as = names[min(at, len(names)) - 1] if at >= 1 else None
            # Where the kernel cuts super-frames its queue may lose a ping: only those that came can be counted.
            if seen_as and ("anything" in seen_as or not of_sender(packet)):
                seen[seen_as] += 1
            if reason := why_not(packet, whole, who):
                print(seen_as, reason, packet.hex(), file=wrong)
    for name, packets in seen.items():
        if packets:
            print(name, packets)


if __name__ == "__main__":
    {"send": send, "count": count}[sys.argv[1]](*sys.argv[2:])
