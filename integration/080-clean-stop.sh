# timeout: 180
# After the emperor nothing is left: no process, namespace, interface, route, table or state.
#
#   host before  ==  host after           while it runs:  emperor0, a table, the run directory, vassals

. "$(dirname "$0")/lib.sh"

populate() {
  local n
  for n in 1 2 3; do
    drop_vassal "serve$n" <<<'command: [mini-emperor, demo, serve, --port, "8080"]'
  done
  drop_vassal stubborn <<'Y'
command: [/bin/sh, -c, "trap '' TERM INT; (setsid sleep 80001 &); while :; do sleep 80002; done"]
stop: {signal: TERM, timeout: 500ms}
Y
  drop_vassal dying <<<'{command: [/bin/false], restart: {delay: 100ms, max_delay: 100ms}}'
  drop_vassal absent <<<'{command: [/nowhere]}'
}

before=$(belongings)
populate
for signal in TERM INT; do
  start_emperor
  for name in serve1 serve2 serve3 stubborn; do wait_running $name; done
  check "no definition is refused" fails logged "yaml:" "error:"
  check "SIG$signal ends it with 0" stop_emperor $signal
  check "after SIG$signal the host is as it was" wait_for 5 is "$before" belongings
done

# A directory full of births, interrupted.
for n in $(seq 60); do drop_vassal "many$n" <<<'{command: [/bin/sleep, infinity]}'; done
"$EMPEROR" run "$VASSALS" --config "$SETTINGS" </dev/null >/dev/null 2>>"$LOG" &
EMPEROR_PID=$!
wait_for 10 test -e "$RUN/state/many7.json"
check "SIGTERM while vassals are being born ends it with 0" stop_emperor
check "the host is as it was" wait_for 10 is "$before" belongings
find "$VASSALS" -name 'many*' -delete

# At several moments before it is even ready: when it has opened so many files.
begun() { [ -e "/proc/$EMPEROR_PID/fd/$1" ] || logged "emperor ready"; }
for n in 3 5 7 9 11; do
  mark
  "$EMPEROR" run "$VASSALS" --config "$SETTINGS" </dev/null >/dev/null 2>>"$LOG" &
  EMPEROR_PID=$!
  wait_for 10 begun $n
  stop_emperor >/dev/null 2>&1 || true
done
check "SIGTERM during its own start leaves the host as it was" wait_for 10 is "$before" belongings

# ---- two on one place
start_emperor
wait_running serve1
pid=$(vassal_pid serve1)
check "a second emperor is refused" fails timeout 10 "$EMPEROR" run "$VASSALS" --config "$SETTINGS"
check "the first does not suffer" same_pid serve1 "$pid"
address=$(vassal_field serve1 '.addresses[0]')
check "nor its network" wait_for 5 fetch "http://${address%/*}:8080/healthz"
check "the emperor ends with 0" stop_emperor
check "the host is as it was" wait_for 5 is "$before" belongings
check "a vassal that could not be told of the end was told by the kernel" fails pgrep -f "sleep 8000[12]"
