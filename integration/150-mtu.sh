# Whoever sends what is too long for its receiver learns how long it may be, and what is sent then arrives.
#
#   internet 198.51.100.1 ---- host 10.107.0.1 ---- the router ---- big 10.107.0.9      MTU 9000
#   MTU 9000                   emperor0: 1500              |------ plain 10.107.0.15   MTU 1500
#                                                          |------ small 10.107.0.12   MTU 1280
#                                                          \------ tiny 10.107.0.5     MTU 576, IPv4 only

. "$(dirname "$0")/lib.sh"

cp "$(dirname "$0")/raw.py" "$PUB/"
for vassal in big:9:9000 plain:15:1500 small:12:1280; do
  IFS=: read -r name number mtu <<<"$vassal"
  drop_vassal "$name" <<Y
command: [/bin/sleep, infinity]
network: {address: [10.107.0.$number, "fd00:107::$number"], mtu: $mtu}
Y
done
drop_vassal tiny <<'Y'
command: [/bin/sleep, infinity]
network: {address: 10.107.0.5, mtu: 576}
Y
start_emperor
for name in big plain small tiny; do check "$name runs" wait_running $name; done
# begin VASSAL COMMAND…: in the background, in the vassal's network; its pid is $!.
begin() {
  nsenter -t "$(vassal_pid "$1")" -n -- "${@:2}" >"$W/$1.said" 2>&1 &
  bystander $!
}
# learned VASSAL ADDRESS: the MTU that its kernel remembers of the path.
learned() { in_vassal "$1" ip route get "$2" | grep -oE 'mtu [0-9]+' | cut -d' ' -f2; }
forget() { in_vassal big ip route flush cache; in_vassal big ip -6 route flush cache; }
too_big() { for name; do counter "$name" dropped.too_big; done | xargs; }

# ---- datagrams that must not be cut
cat >"$PUB/datagram.py" <<'P'
"""datagram.py PATIENCE ADDRESS BYTES DISCOVER [SEGMENT]: sends UDP packets of BYTES, or super-frames of packets of
SEGMENT, until the kernel refuses them or nobody has complained of three within PATIENCE seconds each. Prints the
refusal and the MTU of the path, or "passes"."""
import errno, select, socket, sys

patience, address, size, discover = float(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
six = ":" in address
level, mtu_discover, mtu, headers = (socket.IPPROTO_IPV6, 23, 24, 48) if six else (socket.IPPROTO_IP, 10, 14, 28)
link = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
link.setsockopt(level, mtu_discover, discover)
if len(sys.argv) > 5:
    link.setsockopt(socket.IPPROTO_UDP, 103, int(sys.argv[5]) - headers)  # UDP_SEGMENT
link.connect((address, 9))
quiet = 0
while quiet < 3:
    try:
        link.send(b"d" * (size - headers))
    except OSError as error:
        print(errno.errorcode[error.errno], link.getsockopt(level, mtu))
        break
    # An ICMP error makes it readable.
    quiet = 0 if select.select([link], [], [], patience)[0] else quiet + 1
else:
    print("passes")
P
# Who listens does not answer "port unreachable".
for name in plain small tiny; do begin $name "$PYTHON" "$PUB/raw.py" receive 9; done
for name in plain small tiny; do wait_for 15 grep -q listening "$W/$name.said"; done
whole=2 cut=0   # IP_PMTUDISC_DO, IP_PMTUDISC_DONT
# passes ARGUMENT…: what datagram.py sends from big, nobody complains of.
passes() { is passes in_vassal big "$PYTHON" "$PUB/datagram.py" 0.1 "$@"; }
# refused MTU ARGUMENT…: the first one has the sender learn that MTU; a complaint may take its time.
refused() { is "EMSGSIZE $1" in_vassal big "$PYTHON" "$PUB/datagram.py" 10 "${@:2}"; }
for to in plain:15:1500 small:12:1280; do
  IFS=: read -r name number mtu <<<"$to"
  for address in "10.107.0.$number" "fd00:107::$number"; do
    check "$mtu bytes pass to $name, $address" passes "$address" "$mtu" $whole
    check "one more is too long, and the sender learns the MTU" refused "$mtu" "$address" $((mtu + 1)) $whole
    check "its kernel keeps it for the next" is "$mtu" learned big "$address"
  done
done
check "an MTU of 576 is told as well" refused 576 10.107.0.5 577 $whole
check "each was dropped once, at the receiver's expense" is "2 2 1" too_big plain small tiny
check "the host is told too" is "EMSGSIZE 1280" "$PYTHON" "$PUB/datagram.py" 10 10.107.0.12 1400 $whole
check "over IPv6 as well" is "EMSGSIZE 1280" "$PYTHON" "$PUB/datagram.py" 10 fd00:107::12 1400 $whole
check "on the way out the uplink's MTU counts" refused 1500 198.51.100.1 4000 $whole
check "over IPv6 as well" refused 1500 2001:db8:1::1 4000 $whole

# ---- a super-frame is as long as its segments
forget
check "a super-frame of datagrams of 1280 passes" passes 10.107.0.12 12548 $whole 1280
check "one of datagrams of 1281 does not" refused 1280 10.107.0.12 12558 $whole 1281
check "over IPv6 the same: 1280" passes fd00:107::12 12368 $whole 1280
check "and 1281" refused 1280 fd00:107::12 12378 $whole 1281

# ---- IPv4 that may be cut: a tun takes it, so nobody cuts it
forget
before=$(counter small receive_packets)
check "a datagram of 6000 bytes to an MTU of 1280" passes 10.107.0.12 6000 $cut
check "arrives whole" wait_for 15 grep -qE "^10.107.0.9 d{5972}$" "$W/small.said"
check "as one packet each time" wait_for 15 is $((before + 3)) counter small receive_packets

# ---- TCP that believes in large segments: only ICMP can tell it better
# believe VASSAL NUMBER: it offers segments as large as big's, whatever its own MTU.
believe() {
  in_vassal "$1" ip route change 10.107.0.0/24 dev tun0 proto kernel scope link src "10.107.0.$2" advmss 8960
  in_vassal "$1" ip -6 route change fd00:107::/64 dev tun0 proto kernel metric 256 advmss 8940
}
believe small 12
believe plain 15
ready() { in_vassal big bash -c "exec 3<>/dev/tcp/$1/5201"; }
# transfer ADDRESS: 30 MB from big; prints the MTU of the path that its socket knows at the end.
transfer() {
  in_vassal big iperf3 -c "$1" -n 30M --json >"$W/iperf.json" || { jq -r .error "$W/iperf.json"; return 1; }
  jq -r 'if .end.sum_received.bytes > 20e6 then [.intervals[].streams[].pmtu] | last else .end.sum_received end' \
    "$W/iperf.json"
}
for to in plain:15:1500 small:12:1280; do
  IFS=: read -r name number mtu <<<"$to"
  begin "$name" iperf3 -s
  wait_for 15 ready "10.107.0.$number"
  for address in "10.107.0.$number" "fd00:107::$number"; do
    before=$(counter "$name" dropped.too_big)
    check "TCP from 9000 to $mtu, $address" is "$mtu" transfer "$address"
    check "its kernel was told" more_than "$before" counter "$name" dropped.too_big
    check "and keeps the MTU of the path" is "$mtu" learned big "$address"
  done
done
packets=$(counter small receive_packets) bytes=$(counter small receive_bytes)
check "the second time it knows" is 1280 transfer 10.107.0.12
packets=$(($(counter small receive_packets) - packets)) bytes=$(($(counter small receive_bytes) - bytes))
note "$packets packets of $((bytes / packets)) bytes on average went to the MTU of 1280"
check "segments of 1280 bytes crossed many at a time" more_than 2560 echo $((bytes / packets))

ip link set wan0 mtu 9000
on_internet ip link set inet0 mtu 9000
on_internet iperf3 -s >/dev/null 2>&1 & bystander $!
wait_for 15 ready 198.51.100.1
check "TCP to an internet with an MTU of 9000 learns the uplink's" is 1500 transfer 198.51.100.1
check "the emperor ends with 0" stop_emperor
