# kill -9 of the emperor, and another one: the vassals go on as if nothing had happened.
#
#   emperor, killed ... emperor, new
#      |  the run directory: records, FIFOs      the tuns and the uplink: persistent
#   left 10.107.0.2 ══ TCP ══ right 10.107.0.3 ══ TCP ══ host 10.107.0.1
#   talker: numbered lines         worker (no pid namespace: its cgroup)       crasher: restarts

. "$(dirname "$0")/lib.sh"
cp "$(dirname "$0")/stream.py" "$PUB/"

drop_pair
drop_vassal talker <<Y
command: [$PYTHON, -u, $PUB/stream.py, lines, "3000"]
Y
drop_vassal worker <<'Y'
command: [/bin/sh, -c, "sleep 73001 & exec sleep 73002"]
namespaces: [mount]
Y
drop_vassal quitter <<'Y'
command: [/bin/sh, -c, "trap 'exit 7' USR1; while :; do sleep 0.05; done"]
Y
drop_vassal crasher <<Y
command: [/bin/sh, -c, "[ -e $PUB/calm ] && exec sleep infinity; exit 3"]
restart: {delay: 100ms, max_delay: 100ms}
Y
drop_vassal once <<Y
command: [/bin/sh, -c, "echo x >>$PUB/once; exit 1"]
restart: {policy: never}
Y
start_emperor
for name in left right talker worker quitter; do wait_running $name; done
wait_for 10 more_than 2 counter crasher restarts
: >"$PUB/calm"
wait_for 10 executes crasher sleep
wait_for 10 is failed vassal_field once .state
all="left right talker worker quitter crasher"
whole() { local name; for name in $all; do echo "$name $(vassal_pid $name) $(vassal_field $name '.addresses | join(" ")')"; done; }
namespaces() { for p in /proc/[0-9]*; do readlink "$p/ns/net" 2>/dev/null || true; done | sort -u | wc -l; }

# The streams: between two vassals, and from the host.
open_streams "$W/vassal.gaps"

before=$(whole)
networks=$(namespaces)
restarts=$(counter crasher restarts)
check "one of them denies what its firewall says" right_denies
# Counters are written down at most 5 s after packets moved.
written() { [ "$(vassal_field right .traffic.receive_packets)" -gt "$1" ] || { echo "not yet"; return 1; }; }
moved=$(counter right receive_packets)
wait_for 15 written $((moved - 1))
moved=$(vassal_field right .traffic.receive_packets)

crash_and_restart() { # the milliseconds from the start to "ready"
  local begun
  kill_emperor
  begun=$(now_ms)
  start_emperor
  note "ready $(($(now_ms) - begun)) ms after it was started"
}

for round in 1 2 3; do
  from=$(uptime_s)
  crash_and_restart
  check "crash $round: same processes, same addresses" is "$before" whole
  check "crash $round: they are reached" wait_for 5 fetch http://10.107.0.3:8080/healthz
  check "crash $round: over IPv6 too" wait_for 5 fetch "http://[fd00:107::2]:8080/healthz"
  check "crash $round: the firewall of one of them holds" right_denies
  check "crash $round: and reach each other" in_vassal left curl -sS -m 5 -o /dev/null http://10.107.0.3:8080/
  # How long it may take is a goal of the benchmark.
  check "crash $round: both streams go on" streams_move
  check "crash $round: no stream was lost" fails grep close "$W/vassal.gaps"
  note "largest gap of a stream: $(largest_gap "$W/vassal.gaps" "$from") ms"
done
check "nothing was started twice" is "$networks" namespaces
check "counters go on" more_than "$moved" counter right receive_packets
check "restarts are still counted" is "$restarts" counter crasher restarts
check "a vassal that was not to be started again was not" is 1 sh -c "wc -l <$PUB/once"
check "and is known to have failed" is '{"exited":1}' vassal_field once '.last_end | tostring'
check "masquerading is in place" says masquerade nft list table inet mini-emperor-emperor0

# ---- the output
check "no line of the talker is lost" "$PYTHON" "$PUB/stream.py" unbroken "$LOGS/talker.log"
note "$(cat "$W/said")"
kill_emperor
stalled() { says pipe_write cat "/proc/$talker/wchan"; } # it has filled its FIFO and waits
talker=$(awk '$1 == "talker" {print $2}' <<<"$before")
check "without an emperor it waits when its FIFO is full" wait_for 30 stalled
check "and is not killed" test -d "/proc/$talker"
lines=$(wc -l <"$LOGS/talker.log")
start_emperor
check "then it goes on" wait_for 10 sh -c "[ \$(wc -l <$LOGS/talker.log) -gt $((lines + 9000)) ]"
check "and nothing of it is lost" "$PYTHON" "$PUB/stream.py" unbroken "$LOGS/talker.log"
note "$(cat "$W/said")"

# ---- control over them is whole
check "an edit restarts an adopted vassal" sh -c "sed -i s/8080/8081/ $VASSALS/left.yaml"
wait_running left "$(awk '$1 == "left" {print $2}' <<<"$before")"
check "it is there" wait_for 5 fetch http://10.107.0.2:8081/healthz
rm "$VASSALS/worker.yaml"
check "an adopted vassal without a pid namespace is stopped" wait_gone worker
check "with all that it started" wait_for 5 fails pgrep -f "sleep 7300[12]"
check "its cgroup is gone" is "" find /sys/fs/cgroup -maxdepth 5 -name "mini-emperor.worker.*"
mark
kill -KILL "$(vassal_pid right)"
check "how an adopted vassal ended is known: by a signal" wait_for 5 logged "name=right" "killed by signal 9"
kill -USR1 "$(vassal_pid quitter)"
check "or with a code" wait_for 5 logged "name=quitter" "exited with code 7"
check "the emperor ends with 0" stop_emperor
end_helpers
check "nothing is left" wait_for 5 is "" processes
# The kernel takes an io_uring apart, and with it the last hold on the tun, a moment after the process.
check "no interface, no table" wait_for 10 fails sh -c "ip link show emperor0 || nft list tables | grep ."
check "no run directory" fails test -e "$RUN"
