# SIGHUP has each vassal reload in its own way; live keys change without a restart; an edit that cannot run says so.
#
#   operator ── HUP ──▶ emperor ──▶ plain: stopped and started   signalled: USR1   telling: HUP, RELOADING=1 … READY=1
#            ── edit ─▶         ──▶ applied while it runs, or tried with growing pauses

. "$(dirname "$0")/lib.sh"

start_emperor
drop_vassal plain <<'Y'
command: [/bin/sleep, infinity]
network: {address: 10.107.0.41}
Y
drop_vassal signalled <<Y
command: [/bin/sh, -c, "trap 'echo x >>$PUB/signalled' USR1; echo up >>$PUB/up; while :; do sleep 0.05; done"]
reload: signal USR1
Y
cat >"$PUB/telling.py" <<'P'
import os, signal, socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def say(text): s.sendto(text.encode(), "\0" + os.environ["NOTIFY_SOCKET"][1:])
def reload(*_):
    say(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}\nSTATUS=reading")
    while not os.path.exists(os.environ["GO"]): time.sleep(0.02)
    say("READY=1\nSTATUS=read")
signal.signal(signal.SIGHUP, reload)
say("READY=1")
while True: signal.pause()
P
drop_vassal telling <<Y
command: [$PYTHON, $PUB/telling.py]
env: {GO: $PUB/go}
ready: notify
reload: {signal: HUP}
Y
for name in plain signalled telling; do wait_for 10 status_says $name ready=true; done
wait_for 5 test -e "$PUB/up"
plain=$(vassal_pid plain) signalled=$(vassal_pid signalled) telling=$(vassal_pid telling)

# A file that was edited without anybody noticing would be read now; here nothing has changed.
kill -HUP "$EMPEROR_PID"
check "without a reload of its own, it is started anew" wait_running plain "$plain"
check "one with a signal gets it" wait_for 5 is x cat "$PUB/signalled"
check "and runs on" same_pid signalled "$signalled"
check "one that says so is reloading" wait_for 5 status_says telling ready=false 'says="reading"'
touch "$PUB/go"
check "until it is ready again" wait_for 5 status_says telling ready=true 'says="read"'
check "in the same process" same_pid telling "$telling"

# ---- one that cannot be told
drop_vassal deaf <<Y
command: [/bin/bash, -c, 'exec {UWSGI_EMPEROR_FD}>&-; echo closed >"$PUB/deaf"; exec sleep infinity']
reload: emperor
ready_timeout: 1h
Y
wait_for 5 is closed cat "$PUB/deaf"
deaf=$(vassal_pid deaf)
mark
kill -HUP "$EMPEROR_PID"
check "one that has closed its control socket cannot be told" wait_for 5 logged name=deaf "asking for a reload" ECONNREFUSED
check "it runs on, ready, and the status says so" \
  wait_for 5 status_says deaf state=running ready=true 'trouble="asking for a reload' "set reload to a signal"
check "its file is named" wait_for 5 logged problem deaf.yaml ECONNREFUSED
check "in the same process" same_pid deaf "$deaf"
kill -KILL "$deaf"
check "its next process has a control socket" wait_running deaf "$deaf"
check "and nothing is wrong with it" wait_for 5 is 0 vassal_field deaf '.troubles | length'
rm "$VASSALS/deaf.yaml"
wait_gone deaf
plain=$(vassal_pid plain)

# ---- live keys
plain=$(vassal_pid plain)
mark
drop_vassal plain <<'Y'
command: [/bin/sleep, infinity]
network: {address: 10.107.0.41, firewall: {in: [deny]}}
restart: {policy: never, give_up: {deaths: 2, within: 1m}}
stop: {signal: INT, timeout: 2s}
reload: signal USR2
ready: notify
ready_timeout: 7s
watchdog: 500ms
log: {to: none}
Y
check "an edit of live keys is applied" wait_for 5 logged "vassal updated while it runs" name=plain
check "its firewall holds" wait_for 5 fails ping -q -c 1 -W 1 10.107.0.41
check "without a restart" same_pid plain "$plain"
check "one that runs stays ready, whatever its next life has to say" status_says plain ready=true
sleep 1 # twice the watchdog: that it lives is what is shown
check "and nobody expects what it was not told" same_pid plain "$plain"
kill -KILL "$plain"
check "the new policy decides" wait_for 5 status_says plain state=failed "its restart policy"

# ---- where output goes, while it speaks
talk() { # talk TO
  drop_vassal talker <<Y
command: [/bin/sh, -c, "while :; do echo tick; echo tick >>$PUB/ticks; sleep 0.05; done"]
log: {to: $1}
Y
}
size() { stat -c %s "$LOGS/talker.log"; }
ticks() { wc -l <"$PUB/ticks"; }
# The first lines after an edit may have been written before it.
says_nothing() {
  local before
  before=$(size)
  wait_for 10 more_than $(($(ticks) + 10)) ticks && is "$before" size
}
talk file
check "what it says is in its file" wait_for 10 more_than 20 size
talker=$(vassal_pid talker)
mark
talk none
check "an edit of the log is applied" wait_for 5 logged "vassal updated while it runs" name=talker
check "its file grows no more, though it speaks" wait_for 15 says_nothing
before=$(size)
talk file
check "another edit, and it does" wait_for 10 more_than "$before" size
check "all in one life" same_pid talker "$talker"
rm "$VASSALS/talker.yaml"

# ---- an edit that cannot run
drop_vassal victim <<Y
command: [/bin/sleep, infinity]
restart: {delay: 200ms, max_delay: 10s}
Y
wait_running victim
mark
drop_vassal victim <<Y
command: [/nowhere/program]
restart: {delay: 200ms, max_delay: 10s}
Y
check "what is wrong is said" wait_for 5 logged "vassal failed" name=victim /nowhere/program "No such file"
check "the status says it as well" wait_for 5 status_says victim state=waiting /nowhere/program "No such file"
check "it has no process" fails vassal_pid victim
tries() { news | grep "vassal failed" | grep -c name=victim; }
check "it is tried again" wait_for 10 more_than 3 tries
check "with growing pauses" "$PYTHON" - "$LOG" <<'P'
import re, sys
after = [float(m[1]) for m in re.finditer(r'name=victim .*after="([0-9.]+)s"', open(sys.argv[1]).read())]
print(after)
assert len(after) >= 3 and all(b > a for a, b in zip(after, after[1:])), after
P
echo 'command: [/bin/sleep, infinity]' | drop_vassal victim
check "its correction runs at once" wait_running victim

# ---- a network that is refused
mount -t tmpfs scenario /dev/net
mark
echo '{command: [/bin/sleep, infinity], env: {A: 1}, restart: {delay: 200ms, max_delay: 10s}}' | drop_vassal victim
check "a network that is refused is said with its reason" wait_for 5 logged "vassal failed" name=victim /dev/net/tun
check "the status says it as well" wait_for 5 status_says victim state=waiting /dev/net/tun
check "it is tried again" wait_for 10 more_than 2 tries
umount /dev/net
check "and runs once it can" wait_running victim
check "the emperor ends with 0" stop_emperor
