# What happens while no emperor is there to see it is found out by the next one.
#
#   emperor ── kill -9     files change, tuns vanish, vassals die, records rot     emperor

. "$(dirname "$0")/lib.sh"
sleeper() { # sleeper NAME [MORE]
  printf 'command: [/bin/sleep, infinity]\n%s\n' "${2:-}" | drop_vassal "$1"
}
crash() {
  kill -KILL "$EMPEROR_PID"
  wait "$EMPEROR_PID" 2>/dev/null || true
  EMPEROR_PID=
}
declare -A pid
before=$(belongings)
names="steady edited live removed broken cut swapped faked dies once rots renamed"
for name in $names; do sleeper $name; done
printf 'command: [/bin/sleep, infinity]\nrestart: {policy: never}\n' | drop_vassal once
printf 'command: [/bin/sh, -c, "[ -e %s/later ] && exec sleep infinity; exit 1"]\nrestart: {delay: 1h, max_delay: 1h}\n' \
  "$PUB" | drop_vassal later
printf 'command: [/bin/sh, -c, "sleep 74001 & exec sleep 74001"]\nnamespaces: [mount]\n' | drop_vassal tree
printf 'command: [/bin/sleep, infinity]\nhooks: {post_stop: [/bin/sh, -c, "echo $MINI_EMPEROR_END >>%s/buried"]}\n' "$W" |
  drop_vassal hooked
printf 'command: [/bin/sh, -c, "echo x >>%s; exit 3"]\nrestart: {delay: 3s, max_delay: 3s, give_up: {deaths: 2, within: 1h}}\n' \
  "$PUB/frail" | drop_vassal frail
start_emperor
for name in $names tree hooked; do wait_running $name; pid[$name]=$(vassal_pid $name); done
wait_for 5 is waiting vassal_field later .state
wait_for 5 is 1 vassal_field frail .deaths_in_a_row
crash

# ---- while it is down
sed -i 's/infinity/74002/' "$VASSALS/edited.yaml"
echo 'network: {firewall: {in: [deny]}}' >>"$VASSALS/live.yaml"
rm "$VASSALS/removed.yaml"
echo 'nonsense: true' >>"$VASSALS/broken.yaml"
mv "$VASSALS/renamed.yaml" "$VASSALS/other.yaml"
sleeper fresh
nsenter -t "${pid[cut]}" -n -- ip link del tun0
nsenter -t "${pid[swapped]}" -n -- sh -c 'ip link del tun0; ip link add tun0 type veth peer name other; ip link set tun0 up'
nsenter -t "${pid[faked]}" -n -- sh -c 'ip link del tun0; ip tuntap add tun0 mode tun; ip link set tun0 up'
kill -KILL "${pid[dies]}" "${pid[once]}" "${pid[tree]}" "${pid[hooked]}"
for name in dies once tree hooked; do wait_for 5 fails test -d "/proc/${pid[$name]}"; done
printf '{"boot":"%s","kept":{"alive":{"process":%s,"new":[]}}}' "$(cat /proc/sys/kernel/random/boot_id)" \
  "$(vassal_field rots .kept.alive.process)" >"$RUN/state/rots.json.new"
mv "$RUN/state/rots.json.new" "$RUN/state/rots.json"
start_emperor

# ---- and found out
check "what nobody touched goes on" same_pid steady "${pid[steady]}"
check "an edited vassal is restarted" wait_running edited "${pid[edited]}"
check "under its new definition" wait_for 5 pgrep -xf "(/bin/)?sleep 74002"
check "an edit of a live key has its effect" wait_for 10 fails ping -q -c 1 -W 1 "$(vassal_field live '.addresses[0] | split("/")[0]')"
check "without a restart" same_pid live "${pid[live]}"
check "a removed one is stopped" wait_gone removed
check "its process is gone" wait_for 5 fails test -d "/proc/${pid[removed]}"
check "one with a bad edit goes on" same_pid broken "${pid[broken]}"
check "and the edit is reported" wait_for 5 logged broken.yaml nonsense
check "a renamed one is another vassal" wait_running other
check "a new one runs" wait_running fresh
check "one that died too often under both emperors is given up" wait_for 15 is failed vassal_field frail .state
check "deaths under the earlier one count" is 2 sh -c "wc -l <$PUB/frail"
for name in cut swapped faked; do
  check "$name: a vassal whose tun is not the one it had is restarted" wait_running $name "${pid[$name]}"
  check "$name: with the reason" wait_for 5 logged "name=$name" "its tun was taken away from inside"
  address=$(vassal_field $name '.addresses[0] | split("/")[0]')
  check "$name: it has a network again" wait_for 5 ping -q -c 1 -W 1 "$address"
done
check "one that died is started again" wait_running dies "${pid[dies]}"
check "how it ended is said to be unknown" wait_for 5 logged "name=dies" "its exit status is unknown"
check "its restart is counted" is 1 vassal_field dies .restarts
check "one that died and has a post_stop is started again" wait_running hooked "${pid[hooked]}"
check "after its post_stop, which was called once" wait_for 10 is "ended, its exit status is unknown" cat "$W/buried"
check "one that is never started again is not" is failed vassal_field once .state
check "one that waits goes on waiting" is waiting vassal_field later .state
: >"$PUB/later"
kill -URG "$EMPEROR_PID"
check "until it is to try now" wait_running later
check "what was left of the tree of one that died is ended" wait_running tree "${pid[tree]}"
check "it runs once" wait_for 5 is 2 pgrep -xfc "(/bin/)?sleep 74001"
check "a record that makes no sense is reported" logged "rots.json" "cannot be read"
check "its process is ended" wait_for 5 fails test -d "/proc/${pid[rots]}"
check "and the vassal started" wait_running rots

# ---- the directory is not there
crash
mv "$VASSALS" "$W/elsewhere"
mark
"$EMPEROR" run --config <(echo "vassals: $VASSALS"; cat "$SETTINGS") </dev/null >/dev/null 2>>"$LOG" &
EMPEROR_PID=$!
check "without its directory the emperor gets ready" wait_for 15 logged "emperor ready"
sleep 0.5 # longer than a file must be gone to count as removed
check "and stops nobody" same_pid steady "${pid[steady]}"
mv "$W/elsewhere" "$VASSALS"
crash

# ---- in the midst of stops
printf 'command: [/bin/sh, -c, "trap %s TERM; while :; do sleep 0.1; done"]\nstop: {signal: TERM, timeout: 5s}\n' "''" |
  drop_vassal stubborn
start_emperor
wait_for 10 heeds stubborn TERM
stubborn=$(vassal_pid stubborn)
rm "$VASSALS/stubborn.yaml"
wait_for 5 is stopping vassal_field stubborn .state
crash
check "one that was being stopped outlives the crash" test -d "/proc/$stubborn"
start_emperor
check "and is stopped by the next emperor" wait_gone stubborn
check "it is gone" wait_for 5 fails test -d "/proc/$stubborn"
printf 'command: [/bin/sh, -c, "trap %s TERM; while :; do sleep 0.1; done"]\nstop: {signal: TERM, timeout: 5s}\n' "''" |
  drop_vassal stubborn
wait_for 10 heeds stubborn TERM
stubborn=$(vassal_pid stubborn)
kill -TERM "$EMPEROR_PID"
wait_for 5 is stopping vassal_field stubborn .state
wait_gone steady
crash
start_emperor
check "after a crash in the midst of its end, the next emperor runs all" wait_running steady "${pid[steady]}"
check "what was left is not doubled" wait_running stubborn "$stubborn"
# Its shell looks like two for a moment whenever it starts a program.
check "it runs once" wait_for 5 is 1 pgrep -fc "trap '' TERM; while :"

# ---- a life that begins in the midst of adoption: its number is that of no other, whatever comes later in the alphabet
for file in "$VASSALS"/*.yaml; do rm "$file"; done
wait_for 15 is "" ls "$RUN/state"
stop_emperor
changes() { printf 'command: [/bin/sh, -c, "trap %s TERM; while :; do sleep 0.1; done", sh, "%s"]\nstop: {signal: TERM, timeout: 1m}\n' "''" "$1" | drop_vassal aaa; }
changes 1
sleeper zzz
start_emperor
for name in aaa zzz; do wait_running $name; pid[$name]=$(vassal_pid $name); done
check "the one after it has the number that comes next" is 1 sh -c "echo $((\
  $(vassal_field zzz .kept.alive.life) - $(vassal_field aaa .kept.alive.life)))"
wait_for 10 heeds aaa TERM
changes 2
wait_for 10 is stopping vassal_field aaa .state
crash
kill -KILL "${pid[aaa]}"
wait_for 5 fails test -d "/proc/${pid[aaa]}"
start_emperor
check "one that ended while it was being changed is started anew" wait_running aaa "${pid[aaa]}"
check "the other goes on" same_pid zzz "${pid[zzz]}"
check "they are two lives" fails is "$(vassal_field aaa .kept.alive.life)" vassal_field zzz .kept.alive.life
check "the new one has its output" test -p "$RUN/logs/aaa.$(vassal_field aaa .kept.alive.life)"
address=$(vassal_field zzz '.addresses[0] | split("/")[0]')
check "the other has its network" wait_for 5 ping -q -c 1 -W 1 "$address"
rm "$VASSALS/zzz.yaml" "$VASSALS/aaa.yaml"
check "and can be ended" wait_for 10 fails test -d "/proc/${pid[zzz]}"
kill -KILL "$(vassal_pid aaa)"

# ---- a socket at which nobody waits any more
mkdir "$W/doors"
printf 'command: [/bin/sleep, infinity]\non_demand: {socket: %s/door}\n' "$W/doors" | drop_vassal door
wait_for 10 is idle vassal_field door .state
wait_for 10 listens "$W/doors/door"
crash
rm "$VASSALS/door.yaml"
start_emperor
check "the socket of one that was removed is taken away" is "" ls "$W/doors"
check "with its record" fails test -e "$RUN/state/door.json"
check "the emperor ends with 0" stop_emperor
check "nothing is left" wait_for 5 is "$before" belongings
