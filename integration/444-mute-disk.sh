# A vassal's program lies on a disk that does not answer: it waits, and nobody else.
#
#   execve(mute/app)  ── FUSE ── a server that reads no request     hangs until the server is gone

. "$(dirname "$0")/lib.sh"

mkdir "$W/mute"
mute "$W/mute" 0 0 allow_other
SLEEP='command: [/bin/sleep, infinity]'
start_emperor
drop_vassal before <<<"$SLEEP"
wait_running before
before=$(vassal_pid before)

mark
for n in 1 2 3 4 5 6; do drop_vassal app$n <<<"{command: [$W/mute/app$n], stop: {timeout: 1s}}"; done
drop_vassal home <<<"{command: [/bin/sleep, infinity], directory: $W/mute/home, stop: {timeout: 1s}}"
drop_vassal after <<<"$SLEEP"
check "others are started" wait_running after
check "the operator hears that nobody can look there" logged "not checked whether this is there: its disk does not answer" "at=\"$W/mute/app1\""
check "and that of the rest nothing is known" logged "not checked" "waits for another disk" "at=\"/bin/sleep\""
check "four wait there for the emperor, and no more" sh -c "[ \$(grep -lx scout /proc/$EMPEROR_PID/task/*/comm | wc -l) -le 4 ]"
check "who lies there has not come to run" fails running app1
check "nor who should run there" fails running home
check "what ran goes on" same_pid before "$before"
check "and is stopped" sh -c "rm '$VASSALS/before.yaml'"
check "as ever" wait_gone before
rm "$VASSALS/app1.yaml"
check "one that hangs can be removed" wait_gone app1

# ---- its disk answers again, and has nothing
unmute "$W/mute"
printf '#!/bin/sh\nexec sleep infinity\n' >"$W/mute/app2"
chmod +x "$W/mute/app2"
mkdir "$W/mute/home"
kill -URG "$EMPEROR_PID"
check "what hung is started when its disk is back" wait_running app2
check "and what should run there" wait_running home
mark
drop_vassal missing <<<"command: [$W/mute/none]"
check "and the checks look again" wait_for 10 logged missing.yaml "is no executable file"
check "the emperor ends with 0" stop_emperor
check "nothing is left" wait_for 5 is "" processes
