# One vassal that does not read, and one that sends without end: what the others get meanwhile.
#
#                  +------------ the router ------------+
#                  |        |        |         |        |
#               alice ---> bob    offender    sink     feeder
#                .2    TCP, ping   .66         .5       .6
#
# What must not happen is a standstill: a ping that is lost, or a second of a stream in which nothing moves. The
# rates and round trips are shown as ratios within this run and not judged; the processors have to do with the offender as
# well as with the others.

. "$(dirname "$0")/lib.sh"

seconds=${OFFENDER_SECONDS:-3}

for name in alice:2 bob:3 sink:5 feeder:6; do
  drop_vassal "${name%:*}" <<Y
command: [/bin/sleep, infinity]
network: {address: 10.107.0.${name#*:}}
Y
done
drop_vassal offender <<Y
command: [$(command -v iperf3), -s, -p, "5202"]
network: {address: 10.107.0.66}
Y
start_emperor
for name in alice bob sink feeder offender; do wait_running $name; done
# begin VASSAL COMMAND…: in the background, in the vassal's network; its pid is $!.
begin() {
  nsenter -t "$(vassal_pid "$1")" -n -- "${@:2}" >/dev/null 2>&1 &
  bystander $!
}
ready() { in_vassal "$1" bash -c "exec 3<>/dev/tcp/$2/$3"; }
begin bob iperf3 -s -p 5201
begin sink iperf3 -s -p 5203
wait_for 15 ready alice 10.107.0.3 5201
wait_for 15 ready feeder 10.107.0.66 5202
wait_for 15 ready feeder 10.107.0.5 5203

# measure NAME: throughput from alice to bob and then their round trips, in $W/NAME: Mbit/s, ms, percent lost, and how many
# of the seconds moved nothing.
measure() {
  in_vassal alice iperf3 -c 10.107.0.3 -p 5201 -t "$seconds" --json >"$W/iperf.json" ||
    { jq -r .error "$W/iperf.json"; return 1; }
  in_vassal alice ping -n -i 0.002 -c 1000 -W 10 10.107.0.3 >"$W/ping" || true
  echo "$(jq '.end.sum_received.bits_per_second / 1e6 | floor' "$W/iperf.json")" \
    "$(grep -oE 'time=[0-9.]+' "$W/ping" | cut -d= -f2 | sort -n | awk '{v[NR] = $1} END {print v[int(NR * 0.99)]}')" \
    "$(grep -oE '[0-9.]+% packet loss' "$W/ping" | cut -d% -f1)" \
    "$(jq '[.intervals[].sum.bytes | select(. == 0)] | length' "$W/iperf.json")" >"$W/$1"
  [ "$(wc -w <"$W/$1")" = 4 ] || cat "$W/$1" "$W/ping"
}
# beside OFFENDER CALM: measures, shows it as a ratio to what was measured before, and judges whether anything stood still.
exec 5>&1
beside() {
  local rate p99 lost empty rate0 p990 _
  read -r rate0 p990 _ <"$W/$2"
  measure "$1" || return 1
  read -r rate p99 lost empty <"$W/$1"
  awk "BEGIN {printf \"#   beside the $1: $rate Mbit/s = %.2f x calm, round trip p99 $p99 ms = %.1f x calm\n\",
    $rate / $rate0, $p99 / $p990}" >&5
  echo "$rate Mbit/s after $rate0, p99 $p99 ms after $p990, $lost % lost, $empty seconds with nothing"
  [ "$lost $empty" = "0 0" ]
}
calm() { echo "#   $1: $(awk '{print $1 " Mbit/s, round trip p99 " $2 " ms"}' "$W/$1")" >&5; }

check "alice and bob are measured undisturbed" measure calm
calm calm

# ---- does not read: datagrams that overflow its socket, and connections that it does not take
offender=$(vassal_pid offender)
begin feeder iperf3 -c 10.107.0.66 -p 5202 -u -b 300M -l 1400 -t 60
feeder=$!
wait_for 15 more_than 1000 counter offender receive_packets
kill -STOP "$offender"
fillers=()
for _ in 1 2 3 4 5 6 7 8; do
  begin feeder bash -c 'exec cat /dev/zero >/dev/tcp/10.107.0.66/5202'
  fillers+=($!)
done
# The kernel of the stopped vassal has no more room: nothing is acknowledged any more.
full() { in_vassal feeder ss -Htn state established dst 10.107.0.66 | awk '$2 > 0 {n++} END {exit !(n >= 8)}'; }
check "nobody takes what is sent to the stopped vassal" wait_for 10 full
check "the vassal that does not read does not stop alice and bob" beside deaf calm
check "it has not read a byte meanwhile" is T awk '{print $3}' "/proc/$offender/stat"
kill "$feeder" "${fillers[@]}"
wait "$feeder" "${fillers[@]}" || true
kill -CONT "$offender"
check "alice and bob are measured undisturbed again" measure calm-again
calm calm-again

# ---- floods: small datagrams, as fast as it can
begin offender iperf3 -c 10.107.0.5 -p 5203 -u -b 0 -l 64 -t 60
flood=$!
before=$(counter offender transmit_packets)
wait_for 15 more_than $((before + 10000)) counter offender transmit_packets
before=$(counter offender transmit_packets) begun=$(now_ms)
check "the vassal that floods does not stop them" beside flood calm-again
note "the flood was $((($(counter offender transmit_packets) - before) / ($(now_ms) - begun))) packets a millisecond"
kill "$flood"
wait "$flood" || true

check "none of it was alice's or bob's" is "0 0" \
  eval 'echo $(counter alice dropped.queue_full) $(counter bob dropped.queue_full)'
check "the emperor ends with 0" stop_emperor
