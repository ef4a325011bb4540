# What cannot arrive is answered: with the right words, no more often than is good, and never where an answer could
# do harm.
#
#   internet ---- host 10.107.0.1 ---- the router ---- here 10.107.0.9, fd00:107::9
#                                           \--------- there 10.107.0.12, fd00:107::12    nobody: .99

. "$(dirname "$0")/lib.sh"

cp "$(dirname "$0")/raw.py" "$(dirname "$0")/hostile.py" "$PUB/"
for vassal in here:9 there:12; do
  drop_vassal "${vassal%:*}" <<Y
command: [/bin/sleep, infinity]
network:
  address: [10.107.0.${vassal#*:}, "fd00:107::${vassal#*:}"]
  firewall: {in: ["reject any any tcp 81", "deny any any tcp 82"]}
Y
done
start_emperor
for name in here there; do check "$name runs" wait_running $name; done

cat >"$PUB/many.py" <<'P'
"""many.py KIND COUNT: sends COUNT packets of that kind from `here`."""
import ipaddress, sys
sys.dont_write_bytecode = True
from hostile import UDP, piece, v4, v6
from raw import link

ip = ipaddress.ip_address
here, here6, nobody, nobody6 = ip("10.107.0.9"), ip("fd00:107::9"), ip("10.107.0.99"), ip("fd00:107::99")
datagram = bytes([16, 0, 0, 9, 0, 16, 0, 0]) + b"12345678"
icmp = lambda kind: bytes([kind, 0, 0, 0]) + bytes(4) + v4(datagram, UDP, here, nobody)
kinds = {
    "unheld": [v4(datagram, UDP, here, nobody)],
    "unheld6": [v6(datagram, UDP, here6, nobody6)],
    "errors": [v4(icmp(kind), 1, here, nobody) for kind in (3, 4, 5, 11, 12)],
    "errors6": [v6(icmp(kind), 58, here6, nobody6) for kind in (1, 2, 3, 4, 137)],
    "groups": [v4(datagram, UDP, here, ip(to)) for to in ("224.0.0.1", "255.255.255.255", "10.107.0.255")],
    "groups6": [v6(datagram, UDP, here6, ip(to)) for to in ("ff02::1", "ff0e::7")],
    "fragments": [v4(datagram, UDP, here, nobody, fragment=9)],
    "fragments6": [v6(datagram, UDP, here6, nobody6, extensions=[piece(9, 0)])],
    "spoofed": [v4(datagram, UDP, ip("10.107.0.12"), nobody), v6(datagram, UDP, ip("fd00:107::12"), nobody6)],
    "malformed": [v4(datagram, UDP, here, nobody, version=5), v4(datagram, UDP, here, nobody, wrong=1)],
    "spent": [v4(datagram, UDP, here, ip("198.51.100.1"), ttl=0)],
    "last-hop-error": [v4(icmp(3), 1, here, ip("10.107.0.12"), ttl=1)],
}
frames, device = kinds[sys.argv[1]], link("tun0", 4)
for at in range(int(sys.argv[2])):
    device.send(frames[at % len(frames)])
P
# heard VASSAL FIELD: how many ICMP messages of a kind its kernel has received, such as IcmpInMsgs or Icmp6InErrors.
heard() { in_vassal "$1" cat /proc/net/snmp /proc/net/snmp6 | awk -v field="$2" '
  $1 == field {print $2}
  $1 == "Icmp:" && $2 == "InMsgs" {for (i = 1; i <= NF; i++) at["Icmp" $i] = i; next}
  $1 == "Icmp:" && field in at {print $at[field]}'; }
# many KIND COUNT: sends them; the ping behind them proves that all have been judged.
many() { in_vassal here "$PYTHON" "$PUB/many.py" "$@" && in_vassal here ping -q -c 1 -W 10 10.107.0.12 >/dev/null; }

# ---- how often: 50 at once, then 100 a second
limited() { # limited KIND FIELD LEAST
  local before dropped got begun=$(now_ms) most
  before=$(heard here "$2") dropped=$(counter here dropped.no_route)
  many "$1" 500 || return 1
  got=$(($(heard here "$2") - before)) most=$((51 + ($(now_ms) - begun) / 10))
  echo "$got answers in $(($(now_ms) - begun)) ms"
  [ "$got" -ge "$3" ] && [ "$got" -le $most ] && is $((dropped + 500)) counter here dropped.no_route
}
check "of 500 packets to nobody, 50 and what is earned meanwhile are answered" limited unheld IcmpInDestUnreachs 50
check "over IPv6 it is the same purse" limited unheld6 Icmp6InDestUnreachs 1

# ---- the words
pinged() { in_vassal here ping -n -c 1 -W 10 "$@" || true; }
check "IPv4: nobody has that address" says "From 10.107.0.1 icmp_seq=1 Destination Host Unreachable" pinged 10.107.0.99
check "IPv6: nobody has that address" \
  says "From fd00:107::1 icmp_seq=1 Destination unreachable: Address unreachable" pinged fd00:107::99
refused() { in_vassal here timeout 10 bash -c "exec 3<>/dev/tcp/$1" 2>&1 || true; }
check "IPv4: a rule rejects it" says "No route to host" refused 10.107.0.12/81
check "IPv6: a rule rejects it" says "Permission denied" refused fd00:107::12/81
check "IPv4: one hop too many" says "From 10.107.0.1 icmp_seq=1 Time to live exceeded" pinged -t 1 10.107.0.12
check "IPv6: one hop too many" says "From fd00:107::1 icmp_seq=1 Time exceeded: Hop limit" pinged -t 1 fd00:107::12
check "with one more it arrives" says " 1 received" pinged -t 2 10.107.0.12
check "over IPv6 too" says " 1 received" pinged -t 2 fd00:107::12
check "the host is no hop away" says " 1 received" pinged -t 1 10.107.0.1
check "the internet is one" says "From 10.107.0.1 icmp_seq=1 Time to live exceeded" pinged -t 1 198.51.100.1

# What comes by a raw socket can have no time left at all.
before=$(heard here IcmpInTimeExcds)
check "a packet whose TTL is 0 is sent to the internet" many spent 1
check "and ends at the host, which says so" wait_for 5 is $((before + 1)) heard here IcmpInTimeExcds

# ---- never
# silent KIND: none of 20 is answered; others are, so it is not the limit that keeps silence.
silent() {
  local four six
  four=$(heard here IcmpInMsgs) six=$(heard here Icmp6InMsgs)
  many "$1" 20 || return 1
  is "$((four + 1)) $six" eval 'echo $(heard here IcmpInMsgs) $(heard here Icmp6InMsgs)' || return 1
  four=$(heard here IcmpInDestUnreachs)
  wait_for 15 answered "$four"
}
answered() { many unheld 1 && more_than "$1" heard here IcmpInDestUnreachs; }
check "an ICMP error is not answered" silent errors
check "nor an ICMPv6 error" silent errors6
check "nor one on its last hop" silent last-hop-error
check "nor a packet to many" silent groups
check "nor one to an IPv6 group" silent groups6
check "nor a fragment behind the first" silent fragments
check "nor an IPv6 one" silent fragments6
check "nor a packet in another's name" silent spoofed
check "nor what is no packet" silent malformed
check "whose name was used has not heard a word" is "0 0" \
  eval 'echo $(heard there IcmpInDestUnreachs) $(heard there Icmp6InDestUnreachs)'
before=$(heard here IcmpInMsgs)
in_vassal here timeout 0.5 bash -c 'exec 3<>/dev/tcp/10.107.0.12/82' 2>/dev/null || true
check "deny says nothing" is "$before" heard here IcmpInMsgs
check "the emperor ends with 0" stop_emperor
