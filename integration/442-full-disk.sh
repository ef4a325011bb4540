# Where output goes when the disk is full.
#
#   vassal ── pipe ── emperor ── NAME.log    drops and counts at once

. "$(dirname "$0")/lib.sh"

# A vassal that writes numbered lines, and how many it has written.
cp "$(dirname "$0")/ticks.py" "$PUB/"
dropped() { vassal_field "$1" .log.dropped; }
mkdir -p "$LOGS"
mount -t tmpfs -o size=256k,mode=0755 full "$LOGS"
start_emperor
drop_vassal web <<<"{command: [/bin/sleep, infinity], log: {to: none}}"
drop_vassal writer <<<"{command: [$PYTHON, $PUB/ticks.py, $PUB/writer, '0.001'], log: {max_size: 10MiB}}"
wait_running web
wait_running writer
web=$(vassal_pid web)
pid=$(vassal_pid writer)
check "on a full disk output is dropped; why, and what to do, is said" \
  wait_for 15 logged "name=writer" "writer.log: No space left on device" "dropped and counted" "make room"
check "it is counted" wait_for 15 more_than 1000 counter writer log.dropped
check "in its state, too" wait_for 15 more_than 1000 dropped writer
ticks() { cat "$PUB/writer"; }
before=$(ticks)
check "the vassal goes on" wait_for 15 more_than $((before + 200)) ticks
mark
mount -o remount,size=64m "$LOGS"
check "when there is room again, the file goes on with a mark" \
  wait_for 15 grep -q "^mini-emperor: [0-9]* bytes of output were dropped here$" "$LOGS/writer.log"
check "which is said" wait_for 15 logged "output of the vassal is taken again" "name=writer"
check "under the same process" same_pid writer "$pid"
check "nobody else noticed" same_pid web "$web"
# Stopped, so that what was written and what was counted are of one moment.
kill -STOP "$pid"
full_account() {
  "$PYTHON" - "$LOGS/writer.log" "$(counter writer log.dropped)" "$(ticks)" <<'P'
import re, sys
text, counted, last = open(sys.argv[1]).read(), int(sys.argv[2]), int(sys.argv[3])
mark = re.compile(r"^mini-emperor: (\d+) bytes of output were dropped here\n", re.M)
marked = sum(int(n) for n in mark.findall(text))
print(f"{marked} bytes are marked, {counted} counted, in {text.count('mini-emperor:')} places")
assert marked == counted > 0
# Between two marks there is no gap: each tick follows the one before.
for part in mark.split(text)[::2]:
    seen = [int(n) for n in re.findall(r"tick (\d+) x", part)]
    assert not seen or seen == list(range(seen[0], seen[0] + len(seen))), seen
    latest = seen[-1] if seen else None
assert latest is not None and latest >= last - 1, (latest, last)
P
}
check "what is missing is what was counted, to the byte" wait_for 15 full_account
kill -CONT "$pid"
# Nothing is dropped any more; the state says so a while after the last was.
all_written_down() { is "$(counter writer log.dropped)" dropped writer; }
wait_for 15 all_written_down
before=$(dropped writer)
kill -KILL "$EMPEROR_PID"
wait "$EMPEROR_PID" 2>/dev/null || true
start_emperor
check "the count outlives the emperor" is "$before" dropped writer
mark
umount -l "$LOGS"
mount -t tmpfs -o ro scenario "$LOGS"
kill -KILL "$EMPEROR_PID"
wait "$EMPEROR_PID" 2>/dev/null || true
start_emperor
check "an emperor that cannot open the file of a vassal that it finds says so" wait_for 15 logged "name=writer" "Read-only file system"
before=$(ticks)
check "and does not leave it waiting" wait_for 15 more_than $((before + 200)) ticks
check "it is the same process" same_pid writer "$pid"
mount -o remount,rw "$LOGS"
check "when it can, it does" wait_for 15 grep -q "^tick" "$LOGS/writer.log"
check "the emperor ends with 0" stop_emperor
check "nothing is left" wait_for 15 is "" processes
