# timeout: 400
# kill -9 of the emperor at 200 random moments of births, edits and stops: nothing leaks, nothing is doubled, each life that
# was prepared by its pre_start is tidied up after by its post_stop.
#
#   start ── edit, remove, die, stop, upgrade, wake ── kill -9 ── start ── one process a definition, the same as before? ── …

. "$(dirname "$0")/lib.sh"

cp "$(dirname "$0")/speaker.py" "$PUB/"
before=$(belongings)
check "after each of them everything is as it must be" \
  env "KILLS=${KILLS:-200}" "SEED=${SEED:-}" "$PYTHON" "$(dirname "$0")/kills.py" "$EMPEROR" "$SETTINGS" "$VASSALS" "$RUN" "$LOG" "$PUB"
sed 's/^/#   /' "$W/said"
check "no emperor panicked" fails grep -F panicked "$LOG"
check "in the end the host is as it was" wait_for 5 is "$before" belongings
