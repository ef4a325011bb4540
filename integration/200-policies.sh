# When a vassal is started again, and when not; whoever crashes, nobody else waits for it.
#
#   emperor ── crash0 … crash9: end at once, again and again
#          ├── stubborn: does not hear that it is to end
#          └── calm: started, stopped and killed beside them

. "$(dirname "$0")/lib.sh"

lines() { wc -l <"$PUB/$1"; }
start_emperor

# ---- give_up
mark
drop_vassal hopeless <<Y
command: [/bin/sh, -c, "echo x >>$PUB/hopeless; exit 3"]
restart: {delay: 100ms, max_delay: 100ms, give_up: {deaths: 3, within: 1m}}
Y
check "three deaths are enough" wait_for 10 logged "vassal failed" name=hopeless "3 deaths within 60s"
check "the status says why" status_says hopeless state=failed "exited with code 3" "3 deaths within 60s"
settled
check "it was started three times" is 3 lines hopeless
echo "{command: [/bin/sh, -c, 'echo y >>$PUB/hopeless; sleep infinity']}" | drop_vassal hopeless
check "until its file changes" wait_running hopeless

# ---- 26
mark
drop_vassal exile <<Y
command: [/bin/sh, -c, "echo x >>$PUB/exile; exit 26"]
restart: {delay: 100ms, max_delay: 100ms}
Y
check "exit code 26: it stays down" wait_for 10 logged "vassal failed" name=exile "exited with 26"
settled
check "for good" is 1 lines exile
kill -URG "$EMPEROR_PID"
check "unless the operator wants it tried" wait_for 10 is 2 lines exile

# ---- try now
drop_vassal patient <<Y
command: [/bin/sh, -c, "echo x >>$PUB/patient; exit 1"]
restart: {delay: 10m, max_delay: 10m}
Y
wait_for 10 status_says patient state=waiting
check "a pause is said" logged "vassal ended; it is started again" name=patient
kill -URG "$EMPEROR_PID"
check "SIGURG ends it" wait_for 5 is 2 lines patient

# ---- nobody waits for one who crashes
for n in 0 1 2 3 4 5 6 7 8 9; do
  drop_vassal crash$n <<<"{command: [/bin/false], restart: {delay: 200ms, max_delay: 200ms}}"
done
drop_vassal stubborn <<Y
command: [/bin/sh, -c, "trap '' TERM; while :; do sleep 60; done"]
stop: {signal: TERM, timeout: 2m}
Y
wait_for 10 heeds stubborn TERM
rm "$VASSALS/stubborn.yaml"
wait_for 10 more_than 2 counter crash9 restarts
check "one that does not want to end is still stopping" wait_for 5 status_says stubborn state=stopping
calm() { drop_vassal calm <<<"{command: [/bin/sleep, infinity], restart: {delay: 100ms}}"; }
worst_start=0 worst_stop=0 worst_reap=0 wrong_end=
slower() { [ "$1" -ge "$2" ] && echo "$1" || echo "$2"; }
for _ in 1 2 3 4 5 6 7 8 9 10; do
  begun=$(now_ms)
  calm
  wait_running calm
  worst_start=$(slower $(($(now_ms) - begun)) "$worst_start")
  old=$(vassal_pid calm)
  begun=$(now_ms)
  kill -KILL "$old"
  wait_running calm "$old"
  status_says calm "killed by signal 9" || wrong_end=$(status_line calm)
  worst_reap=$(slower $(($(now_ms) - begun - 110)) "$worst_reap")
  begun=$(now_ms)
  rm "$VASSALS/calm.yaml"
  wait_gone calm
  worst_stop=$(slower $(($(now_ms) - begun)) "$worst_stop")
done
note "the slowest of ten: start $worst_start ms, reaped and started again $worst_reap ms beyond its pause, stop $worst_stop ms"
# Whoever waited for another here would wait for the two minutes of one that does not want to end.
check "beside ten that crash, one starts at once" test "$worst_start" -lt 5000
check "its death is noticed at once" test "$worst_reap" -lt 5000
check "how it died is known each time" test -z "$wrong_end"
check "and it stops at once" test "$worst_stop" -lt 5000
check "one that does not want to end is still stopping after all that" status_says stubborn state=stopping
rm "$VASSALS"/crash*.yaml
mark
kill -TERM "$EMPEROR_PID"
wait_for 5 logged "stopping"
check "the emperor asked twice to end ends with 0 at once" stop_emperor INT
