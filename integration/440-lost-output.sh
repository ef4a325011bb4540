# Where output goes when nobody takes it: standard error that stands still. And what a terminal never gets.
#
#   vassal ── pipe ── emperor ── standard error    waits for a second, then drops and counts
#                        its own lines never wait

. "$(dirname "$0")/lib.sh"

# A vassal that writes numbered lines, and how many it has written.
cp "$(dirname "$0")/ticks.py" "$PUB/"
dropped() { vassal_field "$1" .log.dropped; }

# ---- a terminal
cat >"$W/terminal.py" <<'P'
import os, pty, sys
shown = open(sys.argv[1], "wb", buffering=0)
pid, terminal = pty.fork()
if pid == 0:
    os.environ["NO_COLOR"] = "1"
    os.execvp(sys.argv[2], sys.argv[2:])
open(sys.argv[1] + ".pid", "w").write(str(pid))
while True:
    try:
        shown.write(os.read(terminal, 65536))
    except OSError:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
P
cat >"$PUB/noise.py" <<'P'
import os, socket, sys, time
os.write(1, bytes(range(256)) + b"\n" + "\u009b2J\u0090q\u009c".encode() + b"\nend of noise\n")
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.sendto(b"READY=1\nSTATUS=busy \x1b[2J\x07\xc2\x9b1m", "\0" + os.environ["NOTIFY_SOCKET"][1:])
time.sleep(1000)
P
"$PYTHON" "$W/terminal.py" "$W/shown" "$EMPEROR" run "$VASSALS" --config "$SETTINGS" </dev/null >/dev/null &
TERMINAL=$!
bystander $TERMINAL
shows() { grep -aqF -e "$1" "$W/shown"; }
wait_for 15 shows "emperor ready"
EMPEROR_PID=$(cat "$W/shown.pid")
drop_vassal noise <<Y
command: [$PYTHON, $PUB/noise.py]
ready: notify
hooks: {pre_start: [/bin/printf, '\033[2Jfrom the hook\r\n']}
Y
check "a terminal shows what a file gets, behind the name" wait_for 15 shows "noise        | end of noise"
check "a hook's line, too" wait_for 15 shows 'hook pre_start: \u{1b}[2Jfrom the hook\r'
check "the file has the bytes as they came" says "$(printf '\033')" head -c 300 "$LOGS/noise.log"
wait_for 15 shows "vassal ready"
kill -USR1 "$EMPEROR_PID"
check "what it says of itself is shown" wait_for 15 shows 'says="busy \u{1b}[2J\u{7}\u{9b}1m"'
printf 'command: [/bin/true]\n"\\e[2Jodd\\u009b": 1\n"\\a": [\n' >"$VASSALS/bad.yaml"
printf 'command: [/bin/true]\n"\\e[2Jodd\\u009b": 1\n' >"$VASSALS/worse.yaml"
wait_for 15 shows "bad.yaml"
wait_for 15 shows "worse.yaml"
no_control_bytes() {
  "$PYTHON" - "$W/shown" <<'P'
import sys
text = open(sys.argv[1], "rb").read().decode().replace("\r\n", "\n")
odd = sorted({c for c in text if (ord(c) < 32 or 127 <= ord(c) < 160) and c not in "\n\t"})
assert not odd, odd
P
}
check "no control character of theirs reaches the terminal" no_control_bytes
kill -TERM "$EMPEROR_PID"
check "the emperor ends with 0" wait "$TERMINAL"
EMPEROR_PID=
rm "$VASSALS"/*.yaml

# ---- standard error stands still
mkfifo "$W/err"
exec 7<>"$W/err"
"$EMPEROR" run "$VASSALS" --config "$SETTINGS" </dev/null >/dev/null 2>"$W/err" &
EMPEROR_PID=$!
drop_vassal loud <<<"{command: [$PYTHON, $PUB/ticks.py, $PUB/loud, '0.0005'], log: {to: inherit}}"
drop_vassal quiet <<<"{command: [/bin/sleep, infinity]}"
wait_running loud
wait_running quiet
pid=$(vassal_pid quiet)
check "what nobody reads is dropped and counted, in the vassal's state" wait_for 15 more_than 0 dropped loud
ticks() { cat "$PUB/loud"; }
before=$(ticks)
check "the vassal that writes it goes on" wait_for 15 more_than $((before + 300)) ticks
kill -KILL "$pid"
check "an emperor whose standard error nobody reads goes on" wait_running quiet "$pid"
check "a new one starts" settled
cat <&7 >"$W/heard" &
reader=$!
bystander $reader
check "when it is read again, the lines come, with a mark" \
  wait_for 15 grep -q "loud .*mini-emperor: [0-9]* bytes of output were dropped here" "$W/heard"
check "and the emperor's own are all there" wait_for 15 grep -q "vassal running.*name=quiet" "$W/heard"
check "the loss was told, with the reason" wait_for 15 grep -q "nobody reads standard error; .*dropped and counted.*name=loud" "$W/heard"
check "and its end" wait_for 15 grep -q "output of the vassal is taken again.*name=loud" "$W/heard"
check "the emperor ends with 0" stop_emperor
kill $reader
exec 7>&-
check "nothing is left" wait_for 15 is "" processes
