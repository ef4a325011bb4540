# timeout: 200
# Many vassals: a cold start, a kill -9, and another emperor that goes on with every one of them.
#
#   emperor, killed ... emperor, new
#      ╠═ m1 ═ m2 ═ m3 ═ … ═ m300        VASSALS_COUNT=1000: as many as that

. "$(dirname "$0")/lib.sh"

COUNT=${VASSALS_COUNT:-300}
sed -i 's/^router: .*/router: {address: [10.107.0.1\/16]}/' "$SETTINGS"
before=$(belongings)
for ((n = 1; n <= COUNT; n++)); do
  echo 'command: [/bin/sleep, "74100"]' >"$VASSALS/m$n.yaml"
done

# Their records, as lines of "name pid addresses state".
all() { jq -r 'select(.kept.alive.born) | "\(.name) \(.pid) \(.addresses) \(.state)"' "$RUN"/state/*.json | sort; }
born() { is "$COUNT" eval 'all | wc -l'; }
sleepers() { pgrep -cxf "/bin/sleep 74100"; }
networks() { for p in /proc/[0-9]*; do readlink "$p/ns/net" 2>/dev/null || true; done | sort -u | wc -l; }

fewest=$(networks)
begun=$(now_ms)
start_emperor
check "a cold start: $COUNT vassals run" wait_for 90 born
note "all run $(($(now_ms) - begun)) ms after the start"
check "one process each" wait_for 10 is "$COUNT" sleepers
check "and one network each" is "$((fewest + COUNT))" networks
kept=$(all)

kill_emperor
begun=$(now_ms)
start_emperor
note "ready $(($(now_ms) - begun)) ms after the start of another emperor"
check "it goes on with all of them" logged "went on with" "vassals=$COUNT" "running=$COUNT"
check "under the same pids, with the same addresses" is "$kept" all
check "nothing was started twice" is "$COUNT" sleepers
check "nor made twice" is "$((fewest + COUNT))" networks
check "one FIFO each" is "$COUNT" eval 'find "$RUN/logs" -type p | wc -l'
last=$(vassal_field "m$COUNT" '.addresses[0]')
check "they are reached" wait_for 10 ping -q -c 1 -W 1 "${last%/*}"

begun=$(now_ms)
check "all are stopped" stop_emperor
note "stopped within $(($(now_ms) - begun)) ms"
check "nothing is left" wait_for 30 is "$before" belongings
