# A thousand lives begun and ended leave nothing: no process, no descriptor, no namespace, no memory.
#
#   20 rounds of 50: half in a pid namespace, half in a cgroup; some speak, some are probed, some are killed unborn

. "$(dirname "$0")/lib.sh"

ROUNDS=20 EACH=50

# What a vassal of each kind asks for beside its command.
kinds=(
  'namespaces: [pid, mount]'
  'namespaces: [mount]'
  'ready: notify, namespaces: [pid, mount]'
  'ready: emperor, namespaces: [mount]'
  'ready: {tcp: 9}, namespaces: [pid, mount]'
)
batch() {
  local n
  for ((n = 0; n < EACH; n++)); do
    echo "{command: [/bin/sh, -c, 'sleep 70010 & exec sleep 70010'], ${kinds[n % ${#kinds[@]}]}}" >"$W/new"
    mv "$W/new" "$VASSALS/cycle$n.yaml"
  done
}
states() { find "$RUN/state" -name 'cycle*.json' | wc -l; }
alive() { cat "$RUN"/state/cycle*.json 2>/dev/null | jq -r 'select(.pid != null) | .name' | wc -l; }
fds() { find "/proc/$EMPEROR_PID/fd" -mindepth 1 2>/dev/null | wc -l; }
threads() { find "/proc/$EMPEROR_PID/task" -mindepth 1 -maxdepth 1 2>/dev/null | wc -l; }
memory() { awk '/^VmRSS:/ {print $2}' "/proc/$EMPEROR_PID/status"; }
cgroups() { find /sys/fs/cgroup -type d -name 'mini-emperor.cycle*' 2>/dev/null | wc -l; }
namespaces() {
  { for p in /proc/[0-9]*; do readlink "$p/ns/net" 2>/dev/null; done
    for f in "/proc/$EMPEROR_PID"/fd/*; do readlink "$f" | grep '^net:'; done; } | sort -u | wc -l
}
cycle() {
  batch
  wait_for 30 is $EACH alive || return 1
  rm "$VASSALS"/cycle*.yaml
  wait_for 30 is 0 states
}
# One round in which the files are gone before the births are done.
unborn() {
  batch
  rm "$VASSALS"/cycle*.yaml
  settled && wait_for 30 is 0 states
}

start_emperor
# The first rounds warm up: threads, buffers, the allocator.
check "two rounds come and go" eval "cycle && cycle && unborn"
wait_for 10 is 0 cgroups
fds=$(fds) threads=$(threads) namespaces=$(namespaces) before=$(memory)
begun=$(now_ms)
for ((round = 0; round < ROUNDS; round++)); do
  cycle || { echo "# round $round is stuck"; break; }
  [ $((round % 5)) -ne 4 ] || unborn
  [ $round -ne $((ROUNDS / 2 - 1)) ] || half=$(memory)
done
note "$((ROUNDS * EACH)) lives in $(($(now_ms) - begun)) ms; memory $before KiB, ${half:-?} KiB half way, $(memory) KiB"
check "all rounds were played" test $round -eq $ROUNDS
check "no orphan" wait_for 5 fails pgrep -f "sleep 70010"
# Of the rounds before, something may still have been on its way out when these were counted.
no_more() { local now; now=$("$2"); [ "$now" -le "$1" ] || { echo "$now $2, before $1"; return 1; }; }
check "no descriptor is left" wait_for 5 no_more "$fds" fds
check "no thread is left" wait_for 5 no_more "$threads" threads
check "no namespace is left" wait_for 5 no_more "$namespaces" namespaces
check "no cgroup is left" wait_for 5 is 0 cgroups
check "memory does not grow" test "$(memory)" -lt $((before + 2048))
check "the emperor ends with 0" stop_emperor
check "nothing is left" wait_for 5 is "" processes
