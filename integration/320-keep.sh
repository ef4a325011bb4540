# on_exit: keep. The emperor ends, its vassals do not; the next one goes on with them. SIGQUIT ends all.
#
#   emperor ── SIGTERM ──▶ exits with 0        records, FIFOs, uplink and table stay
#       left ══ TCP ══ right                   …and go on with the next emperor

. "$(dirname "$0")/lib.sh"
cp "$(dirname "$0")/stream.py" "$PUB/"
before=$(belongings)
echo "on_exit: keep" >>"$SETTINGS"
drop_pair
drop_vassal talker <<Y
command: [$PYTHON, -u, $PUB/stream.py, lines, "1000"]
Y
drop_vassal stubborn <<'Y'
command: [/bin/sh, -c, "trap '' TERM; while :; do sleep 0.1; done"]
stop: {signal: TERM, timeout: 5s}
Y
start_emperor
all="left right talker stubborn"
for name in $all; do wait_running $name; done
open_streams "$W/gaps"
wait_for 10 heeds stubborn TERM

kept=$(who $all)
for signal in TERM INT; do
  moved=$(counter right receive_packets)
  check "SIG$signal ends the emperor with 0" stop_emperor $signal
  check "no process of it is left" fails pgrep -f "$EMPEROR run"
  check "the vassals run" is "$kept" who $all
  at_the_end=$(vassal_field right .traffic.receive_packets)
  check "the counters were written at the end" test "$at_the_end" -gt "$moved"
  start_emperor
  check "the next emperor has the same" is "$kept" who $all
  check "they are reached" wait_for 5 fetch http://10.107.0.2:8080/healthz
  check "exactly these counters go on" more_than $((at_the_end - 1)) counter right receive_packets
  check "both streams go on" streams_move
  check "no stream was lost" fails grep close "$W/gaps"
done
check "no line of output is lost or repeated" says " 0 twice" "$PYTHON" "$PUB/stream.py" unbroken "$LOGS/talker.log"

# ---- ended while a vassal was being stopped
rm "$VASSALS/stubborn.yaml"
wait_for 10 is stopping vassal_field stubborn .state
stubborn=$(awk '$1 == "stubborn" {print $2}' <<<"$kept")
check "SIGTERM in the midst of a stop" stop_emperor
check "what was being stopped still runs" test -d "/proc/$stubborn"
start_emperor
check "the next emperor stops it" wait_gone stubborn
check "the process is gone" wait_for 5 fails test -d "/proc/$stubborn"

# ---- the settings say otherwise in the meantime
stop_emperor
sed -i 's/^router: .*/router: {device: emperor7, address: [10.107.0.1\/24, "fd00:107::1\/64"]}/' "$SETTINGS"
left=$(vassal_pid left)
start_emperor
check "another name of the uplink: it is there" ip link show emperor7
check "the old one is not" fails ip link show emperor0
check "nor its table" is "table inet mini-emperor-emperor7" nft list tables
check "the vassals do not notice" same_pid left "$left"
check "they are reached" wait_for 5 fetch http://10.107.0.2:8080/healthz
stop_emperor
sed -i 's/^router: .*/router: {address: [10.108.0.1\/24, "fd00:107::1\/64"]}/' "$SETTINGS"
mark
start_emperor
check "another subnet: a vassal with an address of it moves there" wait_running talker "$(awk '$1 == "talker" {print $2}' <<<"$kept")"
check "with the reason" wait_for 5 logged "name=talker" "no subnet of the router any more"
check "its address is there" wait_for 5 says 10.108.0. vassal_field talker '.addresses[0]'
check "a file that names the old subnet is refused" wait_for 5 logged "left.yaml" "error"

# ---- ended while a post_stop runs, and asked again not to wait for it
drop_slow_end undone "$W/undone"
mark
check "SIGTERM more than once ends the emperor" wait_for 10 fails kill -TERM "$EMPEROR_PID"
check "without the hook" logged "leaving at once; hooks that still run are killed"
EMPEROR_PID=
start_emperor
check "the next emperor calls it again" wait_for 10 is 2 grep -c begin "$W/undone"
: >"$W/undone.go"
check "to its end" wait_for 10 is "begin begin end" paste -sd" " "$W/undone"

# ---- the end
check "SIGQUIT stops all" stop_emperor QUIT
end_helpers
check "nothing is left" wait_for 10 is "$before" belongings
