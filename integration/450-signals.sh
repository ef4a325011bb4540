# What each signal does. How HUP has each vassal reload is played in 240-reload.

. "$(dirname "$0")/lib.sh"

drop_vassal web <<<"{command: [/bin/sleep, infinity], network: {address: 10.107.0.10}}"
for signal in TERM INT QUIT; do
  start_emperor
  wait_running web
  check "$signal stops all, and the emperor ends with 0" stop_emperor $signal
  check "$signal leaves nothing" wait_for 15 is "" processes
done

start_emperor
wait_running web
pid=$(vassal_pid web)
mark
kill -USR1 "$EMPEROR_PID"
check "USR1 logs a line for each vassal" wait_for 15 logged "status name=web" "state=running" "pid=$pid" "log.dropped=0"
check "and one for the uplink" wait_for 15 logged "status uplink=emperor0"
# The kernel gives a signal to another thread when the first has one already, unless that has blocked it.
comes_through() { # comes_through THREAD
  local blocked
  blocked=$(awk '/^SigBlk:/ {print $2}' "/proc/$EMPEROR_PID/task/$1/status")
  if (((0x$blocked >> ($(kill -l USR1) - 1)) & 1)); then return; fi
  mark
  "$PYTHON" -c 'import ctypes, signal, sys
sys.exit(ctypes.CDLL(None).tgkill(int(sys.argv[1]), int(sys.argv[2]), signal.SIGUSR1))' "$EMPEROR_PID" "$1"
  wait_for 15 logged "status uplink="
}
for task in "/proc/$EMPEROR_PID"/task/*; do
  check "a signal comes through by the thread $(<"$task/comm"), or never to it" comes_through "${task##*/}"
done
mark
drop_vassal dead <<Y
command: [/bin/sh, -c, "echo x >>$PUB/dead; exit 1"]
restart: {delay: 1h, max_delay: 1h}
Y
wait_for 15 logged "vassal ended" "name=dead" "3"
lines() { wc -l <"$PUB/dead"; }
check "one that died waits for its time" is 1 lines
mark
kill -URG "$EMPEROR_PID"
check "URG has it tried at once" wait_for 15 is 2 lines
# While it is not over, there is no back-off to forget.
wait_for 15 logged "vassal ended" "name=dead"
kill -URG "$EMPEROR_PID"
check "and again" wait_for 15 is 3 lines
check "nobody else is touched" same_pid web "$pid"

# A mount puts other files in the place of the directory, and no event tells of it.
mkdir "$W/other"
echo '{command: [/bin/sleep, infinity]}' >"$W/other/hidden.yaml"
cp "$VASSALS/web.yaml" "$VASSALS/dead.yaml" "$W/other"
mount --bind "$W/other" "$VASSALS"
status_says web state=running # it has turned meanwhile
check "what no event tells of is not seen" fails running hidden
kill -WINCH "$EMPEROR_PID"
check "WINCH has the directories read" wait_running hidden
check "nobody else is touched" same_pid web "$pid"
umount "$VASSALS"
kill -HUP "$EMPEROR_PID"
check "HUP has them read, too" wait_gone hidden
check "and the vassals reloaded" wait_running web "$pid"
check "the emperor ends with 0" stop_emperor
check "nothing is left" wait_for 15 is "" processes

# ---- a second time, in a hurry
drop_vassal stubborn <<'Y'
command: [/bin/sh, -c, 'trap "" TERM; while :; do sleep 1; done']
stop: {signal: TERM, timeout: 1h}
Y
start_emperor
wait_running stubborn
wait_for 15 heeds stubborn TERM
mark
kill -TERM "$EMPEROR_PID"
wait_for 15 logged "stopping"
check "one who does not end keeps the emperor waiting" kill -0 "$EMPEROR_PID"
check "asked again, it kills what is left, and ends with 0, an hour before its time" stop_emperor
check "nothing is left" wait_for 15 is "" processes
