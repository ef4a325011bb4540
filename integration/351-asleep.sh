# timeout: 300
# An emperor whose ten vassals have nothing to say does not wake up at all.
#
#   emperor: its own thread, the router's, all others ── asleep ── v1 … v10: running, with networks, after traffic

. "$(dirname "$0")/lib.sh"

names=$(seq -f 'v%g' 10)
for name in $names; do
  drop_vassal "$name" <<Y
command: [/bin/sleep, infinity]
network: {address: [10.107.0.$((10 + ${name#v})), "fd00:107::$((10 + ${name#v}))"]}
Y
done
start_emperor
for name in $names; do wait_running "$name"; done

# visit: packets from the host to each of them, and from each to the next.
visit() {
  local n
  for n in $(seq 11 20); do
    ping -q -c 2 -i 0.01 -W 5 "10.107.0.$n" && ping -q -c 2 -i 0.01 -W 5 "fd00:107::$n" || return 1
    in_vassal "v$((n - 10))" ping -q -c 2 -i 0.01 -W 5 "10.107.0.$((n == 20 ? 11 : n + 1))" || return 1
  done
}
check "all of them are reached and reach each other" visit

# turns: of each thread how often it has gone to sleep and been put aside, its time on a processor in nanoseconds, and its
# name. A thread that is woken and does nothing changes it.
turns() {
  local task
  for task in /proc/"$EMPEROR_PID"/task/*; do
    echo "${task##*/} $(awk '/ctxt_switches/ {print $2}' "$task/status" | xargs) $(cut -d' ' -f1 "$task/schedstat") $(<"$task/comm")"
  done
}
all_of() { awk '{n += $2 + $3} END {print n}'; }
wakeups() { turns | all_of; }
moved() { for name in $names; do in_vassal "$name" cat /proc/net/dev | awk '/tun0:/ {print $3, $11}'; done; }

# What a start sets in motion lasts a while: the kernels of the vassals say who they are and look for routers, and their
# counters are written down. It is over when a window of ten seconds passes without a packet or a turn.
window=$(now_ms) last=
quiet() {
  local now
  now=$(turns; moved)
  if [ "$now" != "$last" ]; then last=$now window=$(now_ms); fi
  [ $(($(now_ms) - window)) -ge 10000 ] || { echo "$now"; return 1; }
}
# In this shell, which remembers what it has seen.
settle() {
  local end=$(($(now_ms) + 120000))
  until quiet >"$W/last"; do
    [ "$(now_ms)" -lt $end ] || { cat "$W/last"; return 1; }
    sleep 0.5
  done
}
check "after that it comes to rest" settle
turns >"$W/before"
sleep 60 # not to wait for anything: this is what is measured
turns >"$W/after"
note "$(wc -l <"$W/after") threads: $(cut -d' ' -f5- "$W/after" | sort | paste -sd,)"
note "$(($(all_of <"$W/after") - $(all_of <"$W/before"))) turns in 60 s"
check "in 60 seconds no thread of it was woken" diff "$W/before" "$W/after"
for name in $names; do running "$name" >/dev/null || echo "$name"; done >"$W/missing"
check "all ten were there" is "" cat "$W/missing"

# The same look sees one ping.
before=$(wakeups)
ping -q -c 1 -W 5 10.107.0.11 >/dev/null
check "a single ping is a turn" wait_for 5 more_than "$before" wakeups
check "the emperor ends with 0" stop_emperor
