# Output that goes to the journal: a small one that can stand still, and systemd's own.
#
#   vassal ── pipe ── emperor ── /run/systemd/journal/socket    waits for a second, then drops and counts

. "$(dirname "$0")/lib.sh"

# A journal that writes down what it gets, and takes nothing while a file says so.
cat >"$W/journald.py" <<'P'
import json, os, socket, sys, time
path, out, hold = sys.argv[1:]
if os.path.exists(path):
    os.unlink(path)
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.bind(path)
with open(out, "a") as file:
    while True:
        while os.path.exists(hold):
            time.sleep(0.01)
        entry, fds, flags, _ = socket.recv_fds(journal, 1 << 19, 1)
        assert not flags & socket.MSG_TRUNC
        for fd in fds:
            entry = os.pread(fd, 1 << 20, 0)
            os.close(fd)
        fields = dict(line.split("=", 1) for line in entry.decode().splitlines())
        fields["as a file"] = len(fds)
        print(json.dumps(fields), file=file, flush=True)
P
journald() {
  "$PYTHON" "$W/journald.py" /run/systemd/journal/socket "$W/journal" "$W/hold" &
  JOURNALD=$!
  bystander $JOURNALD
  wait_for 15 is "" python_listens
}
python_listens() { "$PYTHON" -c 'import socket; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).connect("/run/systemd/journal/socket")'; }
# A vassal that writes numbered lines, and how many it has written.
cp "$(dirname "$0")/ticks.py" "$PUB/"
ticks() { cat "$PUB/web"; }
mkdir -p /run/systemd/journal
start_emperor
mark
drop_vassal web <<<"{command: [$PYTHON, $PUB/ticks.py, $PUB/web, '0.002'], log: {to: journal}}"
check "without a journal, a vassal that logs to it is not started" \
  wait_for 15 logged "name=web" "no systemd-journald runs here; set log.to to file"
journald
check "with one, it is" wait_running web
check "lines are entries" wait_for 15 grep -q "tick 3 " "$W/journal"
check "with the vassal's name and a priority" wait_for 15 sh -c "head -n 1 $W/journal |
  jq -e '.MINI_EMPEROR_VASSAL == \"web\" and .SYSLOG_IDENTIFIER == \"web\" and .PRIORITY == \"6\"'"
drop_vassal odd <<'Y'
command: [/bin/sh, -c, 'printf "one\033[2J\r\nPRIORITY=0\n<3>it burns\n"; head -c 49152 /dev/zero; printf "\nend\n"; exec sleep infinity']
log: {to: journal}
hooks: {pre_start: [/bin/echo, from the hook]}
Y
wait_running odd
entry() { jq -r "select(.MINI_EMPEROR_VASSAL == \"odd\") | $2" "$W/journal" | sed -n "$1p"; }
check "a hook's line is one, too" wait_for 15 is "hook pre_start: from the hook" entry 1 .MESSAGE
check "control characters come as escapes" wait_for 15 is 'one\u{1b}[2J\r' entry 2 .MESSAGE
check "no line can forge a field" wait_for 15 is "PRIORITY=0, priority 6" entry 3 '"\(.MESSAGE), priority \(.PRIORITY)"'
check "a line can say how urgent it is" wait_for 15 is "it burns, priority 3" entry 4 '"\(.MESSAGE), priority \(.PRIORITY)"'
check "what is too long for a datagram comes as a file" wait_for 15 is "245760 1" entry 5 '"\(.MESSAGE | length) \(."as a file")"'
check "and the next as usual" wait_for 15 says "end 0" entry '5,$' '"\(.MESSAGE) \(."as a file")"'
: >"$W/hold"
mark
check "when the journal stands still, output is dropped, and that is said" \
  wait_for 15 logged "the journal takes nothing" "dropped and counted" "name=web"
check "nobody else waits" settled
before=$(ticks)
check "the vassal goes on" wait_for 15 more_than $((before + 200)) ticks
check "what is dropped is counted" wait_for 15 more_than 1000 counter web log.dropped
rm "$W/hold"
check "when it moves again, a line says how much is missing" wait_for 15 grep -q "bytes of output were dropped here" "$W/journal"
check "which the emperor says, too" wait_for 15 logged "output of the vassal is taken again" "name=web"
# Stopped, so that what was written and what was counted are of one moment.
pid=$(vassal_pid web)
kill -STOP "$pid"
full_account() {
  "$PYTHON" - "$W/journal" "$(counter web log.dropped)" "$(ticks)" <<'P'
import json, re, sys
seen, marked, counted, last = set(), 0, int(sys.argv[2]), int(sys.argv[3])
for line in open(sys.argv[1]):
    entry = json.loads(line)
    if entry["MINI_EMPEROR_VASSAL"] == "web":
        found = re.match(r"tick (\d+) ", entry["MESSAGE"])
        if found: seen.add(int(found[1]))
        found = re.match(r"mini-emperor: (\d+) bytes of output were dropped here", entry["MESSAGE"])
        if found: marked += int(found[1])
gone = [n for n in range(max(seen)) if n not in seen]
missing = sum(len(f"tick {n} ") + 1001 for n in gone)
print(f"{len(gone)} lines, {missing} bytes are missing; marks say {marked}, the status {counted}; last {max(seen)} of {last}")
assert missing == marked == counted > 0 and max(seen) >= last - 1
P
}
check "what is missing is what was counted, to the byte" wait_for 15 full_account
kill -CONT "$pid"
kill "$JOURNALD"
wait "$JOURNALD" 2>/dev/null || true
lines() { grep -c tick "$W/journal"; }
before=$(lines)
journald
check "a journal that was started anew is found" wait_for 15 more_than "$before" lines
kill "$JOURNALD"
wait "$JOURNALD" 2>/dev/null || true
kill -KILL "$EMPEROR_PID"
wait "$EMPEROR_PID" 2>/dev/null || true
start_emperor
before=$(ticks)
check "without a journal, an emperor that finds the vassal does not leave it waiting" wait_for 15 more_than $((before + 200)) ticks
check "it is the same process" same_pid web "$pid"
rm "$VASSALS"/*.yaml
wait_gone web
rm -f /run/systemd/journal/socket

# ---- systemd's own
journald=/lib/systemd/systemd-journald
if [ ! -x $journald ] || ! command -v journalctl >/dev/null || [ ! -s /etc/machine-id ]; then
  skip "systemd's journal takes it" "no systemd-journald here"
else
  mkdir -p /run/systemd/journald.conf.d /run/log/journal
  # Nothing of the real host is read or written: no kernel messages, no audit, no consoles.
  cat >/run/systemd/journald.conf.d/scenario.conf <<'C'
[Journal]
Storage=volatile
ReadKMsg=no
Audit=
ForwardToSyslog=no
ForwardToKMsg=no
ForwardToConsole=no
ForwardToWall=no
RateLimitBurst=0
C
  SYSTEMD_LOG_TARGET=console $journald >"$W/journald.log" 2>&1 &
  JOURNALD=$!
  bystander $JOURNALD
  wait_for 15 is "" python_listens
  drop_vassal real <<'Y'
command: [/bin/sh, -c, 'echo hello; echo "<4>careful"; printf "bell\007\n"; head -c 49152 /dev/zero; echo; exec sleep infinity']
log: {to: journal}
Y
  wait_running real
  # read FILTER: what journalctl finds of the vassal.
  read_journal() { journalctl --directory "/run/log/journal/$(cat /etc/machine-id)" -o json --all MINI_EMPEROR_VASSAL=real | jq -r "$1"; }
  check "systemd's journal takes it" wait_for 15 says "6 real hello" read_journal '"\(.PRIORITY) \(.SYSLOG_IDENTIFIER) \(.MESSAGE)"'
  check "with its priority" wait_for 15 says "4 real careful" read_journal '"\(.PRIORITY) \(.SYSLOG_IDENTIFIER) \(.MESSAGE)"'
  check "control characters are readable there" wait_for 15 says 'bell\u{7}' read_journal .MESSAGE
  check "what is too long for a datagram is there whole" wait_for 15 says 245760 read_journal '.MESSAGE | length'
  rm "$VASSALS/real.yaml"
  wait_gone real
  kill $JOURNALD
  wait $JOURNALD || true
fi
check "the emperor ends with 0" stop_emperor
check "nothing is left" wait_for 15 is "" processes
