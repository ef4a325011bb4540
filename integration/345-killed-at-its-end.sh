# kill -9 of an emperor that ends just now: the next one starts, and so does the one after it.
#
#   start ── SIGTERM ── 0 to 12 ms ── kill -9 ── start ── kill -9 ── start ── SIGTERM ── its end ── start ── …
#
# The tun of an emperor that has ended goes a moment after its process, in the midst of the next one's start.

. "$(dirname "$0")/lib.sh"

SEED=${SEED:-$RANDOM}
ROUNDS=${ROUNDS:-40}
RANDOM=$SEED
before=$(belongings)

# One end that is cut short, and what comes after it. Each emperor must get ready, or the scenario ends.
round() {
  start_emperor
  kill -TERM "$EMPEROR_PID"
  sleep "0.0$(printf %02d $((RANDOM % 13)))"
  kill_emperor
  start_emperor
  kill_emperor
  start_emperor
  stop_emperor
}

note "SEED=$SEED"
bad=
for ((number = 1; number <= ROUNDS; number++)); do round || bad="$bad $number"; done
check "$ROUNDS times every emperor got ready after one that was killed at its end, and ended well" is "" echo "$bad"
check "in the end the host is as it was" wait_for 5 is "$before" belongings
