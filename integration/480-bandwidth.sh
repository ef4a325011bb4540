# How much may leave and enter a vassal: measured, counted, changed during one stream, and nobody else's business.
# What is held to a rate is judged by that rate; what is not, by that it gets more, or by what others get in the same run.
#
#   limited 10.107.0.2 ---- 50 Mbit/s out, in ---- the router ---- other 10.107.0.3
#                                                            \---- third 10.107.0.4
# timeout: 180

. "$(dirname "$0")/lib.sh"

listens() { # listens NAME ADDRESS [BANDWIDTH]
  drop_vassal "$1" <<Y
command: [/usr/bin/iperf3, -s]
network: {address: $2, bandwidth: ${3:-{\}}}
Y
}
# mbits FILTER FILE: of what iperf3 reported, in whole Mbit/s.
mbits() { jq -e "[$1] | max / 1e6 | round" "$2"; }
# between LEAST MOST COMMAND…: the command prints a number from LEAST to MOST.
between() {
  local least=$1 most=$2 got
  shift 2
  got=$("$@") || { echo "$got"; return 1; }
  [ "$got" -ge "$least" ] && [ "$got" -le "$most" ] || { echo "wanted $least to $most, got $got"; return 1; }
}
# stream FROM TO OUT [OPTION…]: one run of iperf3.
stream() {
  local from=$1 to=$2 out=$3
  shift 3
  in_vassal "$from" iperf3 -J -c "$to" "$@" >"$out" || { jq -r .error "$out"; return 1; }
  jq -e '.error == null' "$out" >/dev/null || { jq -r .error "$out"; return 1; }
}
RECEIVED=.end.sum_received.bits_per_second
accepts() { in_vassal "$1" bash -c "exec 3<>/dev/tcp/$2/5201" 2>/dev/null; }

listens limited 10.107.0.2 "{out: 50Mbit/s, in: 50Mbit/s}"
listens other 10.107.0.3
listens third 10.107.0.4
start_emperor
for name in limited other third; do wait_running $name; done
wait_for 10 accepts other 10.107.0.2
wait_for 10 accepts third 10.107.0.3
wait_for 10 accepts other 10.107.0.4
pid=$(vassal_pid limited)
check "nothing is over the limit before anything moves" is 0 counter limited dropped.over_limit

# ---- TCP, by whatever congestion control is usual here, and by the oldest one
for control in "$(cat /proc/sys/net/ipv4/tcp_congestion_control)" reno; do
  for name in limited other; do in_vassal $name sysctl -qw net.ipv4.tcp_congestion_control="$control"; done
  check "TCP from it gets most of its rate and no more ($control)" stream limited 10.107.0.3 "$W/out" -t 5
  check "… $(mbits $RECEIVED "$W/out") Mbit/s" between 30 55 mbits $RECEIVED "$W/out"
  check "TCP to it, too ($control)" stream other 10.107.0.2 "$W/in" -t 5
  check "… $(mbits $RECEIVED "$W/in") Mbit/s" between 30 55 mbits $RECEIVED "$W/in"
done
check "what was over the limit is counted" more_than 0 counter limited dropped.over_limit
check "and with nobody else" is 0 counter other dropped.over_limit

# ---- UDP: what passed the router, since a receiver that does not run in time loses some of that by itself
# flood COUNTER FROM TO: as `stream`; then `passed` has what the counter of `limited` says, in whole Mbit/s.
flood() {
  local before after
  before=$(counter limited "$1") || return 1
  stream "$2" "$3" "$W/flood" -u -b 200M -l 1400 -t 5 || return 1
  after=$(counter limited "$1") || return 1
  jq -e "($after - $before) * 8 / .end.sum.seconds / 1e6 | round" "$W/flood" >"$W/passed"
}
check "a flood from it ends at its rate" flood transmit_bytes limited 10.107.0.3
check "… $(cat "$W/passed") Mbit/s" between 30 55 cat "$W/passed"
check "a flood to it, too" flood receive_bytes other 10.107.0.2
check "… $(cat "$W/passed") Mbit/s" between 30 55 cat "$W/passed"

# ---- under the next emperor
kill_emperor
start_emperor
check "after a crash of the emperor it is the same process" same_pid limited "$pid"
before=$(counter limited dropped.over_limit)
check "TCP from it is as it was" stream limited 10.107.0.3 "$W/out" -t 5
check "… $(mbits $RECEIVED "$W/out") Mbit/s" between 30 55 mbits $RECEIVED "$W/out"
check "TCP to it, too" stream other 10.107.0.2 "$W/in" -t 5
check "… $(mbits $RECEIVED "$W/in") Mbit/s" between 30 55 mbits $RECEIVED "$W/in"
check "what is over the limit is counted on" more_than "$before" counter limited dropped.over_limit

# ---- beside others
before=$(counter limited transmit_bytes)
stream limited 10.107.0.3 "$W/out" -t 6 >"$W/stream" & beside=$!
passed() { more_than "$((before + $1))" counter limited transmit_bytes; }
check "while it sends" wait_for 15 passed 1000000
check "others are not held back" stream other 10.107.0.4 "$W/others" -t 2
check "… $(mbits $RECEIVED "$W/others") Mbit/s, more than twice its rate" more_than 100 mbits $RECEIVED "$W/others"
ends() { wait "$1" || { cat "$W/stream"; return 1; }; }
check "its stream goes on to its end" ends $beside
check "… $(mbits $RECEIVED "$W/out") Mbit/s" between 30 55 mbits $RECEIVED "$W/out"

# ---- another rate, during one stream
before=$(counter limited transmit_bytes)
stream limited 10.107.0.3 "$W/out" -t 12 >"$W/stream" & changing=$!
check "after so many bytes of a stream" wait_for 20 passed 25000000
mark
listens limited 10.107.0.2 "{out: 400Mbit/s, in: 50Mbit/s}"
check "the rate is changed" wait_for 10 logged "vassal updated while it runs" "name=limited"
check "and the stream ends as it should" ends $changing
# Not the first second: a burst is in it.
slow='.intervals[1:3] | map(.sum.bits_per_second) | min' fast='.intervals[].sum.bits_per_second'
check "it was slow before: $(mbits "$slow" "$W/out") Mbit/s" between 10 75 mbits "$slow" "$W/out"
check "and fast after: $(mbits "$fast" "$W/out") Mbit/s" between $((2 * $(mbits "$slow" "$W/out"))) 700 mbits "$fast" "$W/out"
check "by the same process" same_pid limited "$pid"

mark
listens limited 10.107.0.2 "{out: none, in: none}"
check "the limits are taken away" wait_for 10 logged "vassal updated while it runs" "name=limited"
before=$(counter limited dropped.over_limit)
check "it sends as others do" stream limited 10.107.0.3 "$W/out" -t 2
check "whose streams are measured beside it" stream other 10.107.0.4 "$W/others" -t 2
check "… $(mbits $RECEIVED "$W/out") Mbit/s, theirs $(mbits $RECEIVED "$W/others")" \
  more_than $(($(mbits $RECEIVED "$W/others") / 4)) mbits $RECEIVED "$W/out"
check "and nothing is over a limit" is "$before" counter limited dropped.over_limit
check "still the same process" same_pid limited "$pid"
check "the emperor ends with 0" stop_emperor
