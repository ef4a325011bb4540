# A log disk that does not answer: whoever logs there loses output, and nobody else.
#
#   open(stuck.log) ── lease ── another program     hangs until the lease is given up
#   write(flood.log)── a pipe that nobody reads     hangs until somebody does
#   write(chat.log) ── a file                       goes on

. "$(dirname "$0")/lib.sh"

mkdir -p "$LOGS"
cat >"$PUB/lease.py" <<'P'
# Holds a lease of each file, so that open(2) of it by anybody else waits (fcntl(2)).
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
for path in sys.argv[1:]:
    fcntl.fcntl(os.open(path, os.O_RDWR | os.O_CREAT, 0o640), fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
signal.pause()
P
hang() { # hang NAME…: their log files cannot be opened from here on
  : >"$W/held"
  "$PYTHON" "$PUB/lease.py" "${@/#/$LOGS/}" >"$W/held" & LEASE=$!
  helper $LEASE
  wait_for 10 grep -q held "$W/held"
}
answer() { kill -KILL $LEASE; wait $LEASE 2>/dev/null || true; }
hangs() { kill -0 $LEASE; }
cat_threads() { cat /proc/"$EMPEROR_PID"/task/*/comm; }

start_emperor
drop_vassal web <<<"{command: [/bin/sleep, infinity], log: {to: none}}"
wait_running web
web=$(vassal_pid web)

# ---- at a birth
hang stuck.log
mark
drop_vassal stuck <<'Y'
command: [/bin/sh, -c, "echo here; exec sleep infinity"]
hooks: {pre_start: {command: [/bin/echo, before]}}
Y
check "the file of a vassal is being opened" wait_for 10 says "log file" cat_threads
check "another is born meanwhile" settled
kill -KILL "$web"
check "one that ends is started again" wait_running web "$web"
web=$(vassal_pid web)
check "a signal is obeyed" status_says stuck state=starting
check "and all that while it hung" hangs
check "then it is said why the vassal does not start" wait_for 15 logged name=stuck stuck.log "its disk does not answer"
check "it is tried again: no thread is waited for" wait_for 15 status_says stuck restarts=1
answer
check "when the disk answers, it runs" wait_for 15 running stuck
check "its output is there" wait_for 10 grep -qx here "$LOGS/stuck.log"
check "and that of its hook before it" wait_for 10 grep -qx "hook pre_start: before" "$LOGS/stuck.log"
rm "$VASSALS/stuck.yaml"
check "it can be stopped" wait_gone stuck

# ---- at an edit
hang web.log
mark
drop_vassal web <<<"{command: [/bin/sleep, infinity], log: {to: file}}"
check "an edit of its log is taken while the disk hangs" wait_for 10 logged name=web "updated while it runs"
check "others are born" settled
check "the operator hears that it is not in force" wait_for 15 logged name=web web.log "stays as it was"
mark
kill -USR1 "$EMPEROR_PID"
check "and finds it in the status" wait_for 5 logged problem web.yaml "stays as it was" "does not answer"
check "the vassal did not notice" same_pid web "$web"
answer

# ---- at a stop: one that waits for its log has no process yet
hang late.log
drop_vassal late <<<"{command: [/bin/sleep, infinity]}"
check "again one waits" wait_for 10 says "log file" cat_threads
mark
rm "$VASSALS/late.yaml"
check "it can be taken away" wait_for 15 logged "vassal gone" name=late
check "while it hung" hangs
answer

# ---- while output is written
cp "$(dirname "$0")/ticks.py" "$PUB/"
drop_vassal chat <<<"{command: [$PYTHON, $PUB/ticks.py, $PUB/chat, '0.01']}"
mkfifo "$LOGS/flood.log"
# It says a million bytes, and as long as the file is there one word a time that it is gone.
touch "$PUB/hush"
chmod 0666 "$PUB/hush"
drop_vassal flood <<Y
command: [/bin/sh, -c, "head -c 1000000 /dev/zero; echo said >$PUB/said; until [ ! -e $PUB/hush ]; do sleep 0.1; done; echo; echo after; exec sleep infinity"]
Y
touch "$PUB/said"
chmod 0666 "$PUB/said"
wait_running flood
wait_running chat
writes() { says pipe_write cat /proc/"$EMPEROR_PID"/task/*/wchan; }
chat() { wc -l <"$LOGS/chat.log"; }
check "a file takes no more" wait_for 10 writes
before=$(chat)
check "the file of another does" wait_for 15 more_than $((before + 200)) chat
check "and why it does not, is said" wait_for 10 logged name=flood "the disk of its log file does not answer" "dropped and counted"
check "the vassal whose file it is can say all that it has to say" wait_for 15 grep -q said "$PUB/said"
check "which is counted" wait_for 15 more_than 900000 counter flood log.dropped
check "others are born still" settled
check "while it hangs" writes
cp "$MINI_EMPEROR" "$W/second"
chmod 0755 "$W/second"
says_no() { local said; ! said=$("$W/second" upgrade --config "$SETTINGS" 2>&1) && says "the disk of the logs does not answer" echo "$said"; }
check "an upgrade is refused, since the logs cannot stand still" says_no
check "the emperor goes on" settled

# ---- when the disk answers again
cat "$LOGS/flood.log" >"$W/flood" &
helper $!
free() { ! writes >/dev/null; }
check "it answers" wait_for 10 free
rm "$PUB/hush"
check "what is said then is written" wait_for 15 grep -aqx after "$W/flood"
flood_account() { # to the byte: what was said is there or was counted, and the place is marked
  "$PYTHON" - "$W/flood" "$(counter flood log.dropped)" <<'P'
import re, sys
text, counted = open(sys.argv[1], "rb").read(), int(sys.argv[2])
marks = [int(n) for n in re.findall(rb"mini-emperor: (\d+) bytes of output were dropped here\n", text)]
zeros = text.count(b"\0")
print(f"{zeros} bytes are there, {counted} counted, {marks} marked")
assert zeros + counted == 1_000_000 and marks == [counted], text[-200:]
assert text.endswith(b"dropped here\n\nafter\n"), text[-200:]
P
}
check "what is missing is what was counted" wait_for 10 flood_account
writers() { grep -xc "log writer" <(cat_threads); }
check "one thread that writes is left" wait_for 10 is 1 writers

# ---- at the end
mkfifo "$LOGS/last.log"
drop_vassal last <<<"{command: [/bin/sh, -c, 'head -c 1000000 /dev/zero; exec sleep infinity']}"
check "another hangs" wait_for 10 writes
mark
check "it ends all the same" stop_emperor
check "and says what is lost" logged "is not written" "does not answer"
end_helpers
check "nothing is left" wait_for 15 is "" processes
