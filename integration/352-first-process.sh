# The emperor as the program of a container: the first process of its pid namespace, to which all orphans fall.
#
#   1 mini-emperor ── signals ──▶ 2 mini-emperor, the emperor
#   └── waits for every child of its own: whoever lost its parent

. "$(dirname "$0")/lib.sh"

contain() { # starts it, until it is ready; CONTAINER waits for it, FIRST is its first process as the fake host sees it
  : >>"$LOG"
  mark
  unshare --pid --fork --mount-proc -- "$EMPEROR" run "$VASSALS" --config "$SETTINGS" </dev/null >>"$W/emperor.out" 2>>"$LOG" &
  CONTAINER=$!
  wait_for 15 logged "emperor ready" || exit 1
  FIRST=$(pgrep -P $CONTAINER)
}
within() { nsenter -t "$FIRST" -p -m -- "$@"; }
zombies() { ps -o stat= --ppid "$FIRST" | grep -c Z || true; }
gone_with() { local got=0; wait $CONTAINER || got=$?; is "$1" echo $got; }

# Cgroups are the whole machine's: others may be there.
cages() { find /sys/fs/cgroup -type d -name 'mini-emperor.mother.*' 2>/dev/null | sort; }
cages=$(cages)
# Without a pid namespace of its own, so that what it leaves falls to the emperor's.
drop_vassal mother <<Y
command: [/bin/bash, -c, "trap 'exit 26' USR1; for n in {1..50}; do (sleep 0.0526 &); done; echo all; while :; do sleep 0.05; done"]
namespaces: [mount, uts, ipc]
Y
contain
check "the first process is this program" says "mini-emperor" within cat /proc/1/comm
check "the emperor is another" is 2 within cat "$RUN/lock"
check "a vassal has left 50 orphans" wait_for 10 grep -qx all "$LOGS/mother.log"
orphans() { is "" pgrep -xf "sleep 0.0526"; }
check "which have ended" wait_for 10 orphans
check "and been waited for" wait_for 10 is 0 zombies
mark
within kill -USR1 "$(jq .pid "$RUN/state/mother.json")"
check "how a vassal ends is known all the same" wait_for 10 logged name=mother "exited with code 26"
mark
kill -USR1 "$FIRST"
check "signals come to the emperor" wait_for 10 logged status name=mother
kill -TERM "$FIRST"
check "it ends as the emperor does" gone_with 0
check "its run directory is gone" fails test -e "$RUN"

contain
within kill -KILL 2 || true # who does that is in there, too, and may end with it
check "also if that is killed" gone_with $((128 + 9))
start_emperor
check "the next one takes away what was left" stop_emperor QUIT
check "nothing is left" wait_for 15 is "" processes
check "no cgroup either" is "$cages" cages
