# A vassal says when it is ready and that it is alive, or is asked at its port; one that is late or silent is ended.
#
#   emperor ◀── @mini-emperor/notify, in the vassal's network namespace ── teller, silent, liar, forker …
#           ──▶ connect 10.107.0.21:8000, from inside it                ── port
#   stranger: in another namespace, without a way to either

. "$(dirname "$0")/lib.sh"

# says TEXT…: each as one message of sd_notify, from whatever process runs it.
cat >"$PUB/say" <<P
#!$PYTHON
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
where = os.environ["NOTIFY_SOCKET"]
for text in sys.argv[1:]:
    s.sendto(text.encode(), "\0" + where[1:] if where[0] == "@" else where)
P
chmod 755 "$PUB/say"
# One that says that it is ready and then gives signs of life, until FLAG is there.
cat >"$PUB/beat.py" <<'P'
import os, socket, sys, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def say(text): s.sendto(text.encode(), "\0" + os.environ["NOTIFY_SOCKET"][1:])
say("READY=1")
while not os.path.exists(sys.argv[1]):
    say("WATCHDOG=1")
    time.sleep(0.1)
while True: time.sleep(1000)
P

# field NAME KEY: one word of its status line.
field() {
  local line
  ask_status || return 1
  line=$(status_line "$1") || { echo "no status of $1"; return 1; }
  grep -oE "(^| )$2=(\"[^\"]*\"|[^ ]*)" <<<"$line" | tail -n 1 | cut -d= -f2-
}
has() { is "$3" field "$1" "$2"; } # has NAME KEY VALUE
wait_has() { wait_for 10 has "$@"; }

start_emperor
drop_vassal teller <<Y
command:
  - /bin/sh
  - -c
  - |
    trap 'exit 0' TERM
    until [ -e $PUB/go ]; do sleep 0.05; done
    $PUB/say "READY=1
    X=1" "STATUS=serving \"you\""
    while :; do sleep 0.1; done
ready: notify
namespaces: [pid, mount]
Y
wait_running teller
check "one that has not said so is not ready" has teller ready false
touch "$PUB/go"
check "its word makes it ready" wait_has teller ready true
check "its status is shown" wait_for 5 status_says teller 'says="serving \"you\""'
check "that it is ready is logged" sh -c "grep -q 'vassal ready name=teller' '$LOG'"

# ---- watchdog
drop_vassal beating <<Y
command:
  - /bin/sh
  - -c
  - |
    echo "\$WATCHDOG_USEC" >$PUB/usec
    exec $PYTHON $PUB/beat.py $PUB/stop-beating
ready: notify
watchdog: 1s
restart: {delay: 200ms, max_delay: 1s}
Y
wait_has beating ready true
old=$(vassal_pid beating)
check "it is told its watchdog" is 1000000 cat "$PUB/usec"
sleep 1.5 # longer than the watchdog: that it lives is what is shown
check "one that gives signs of life is left alone" same_pid beating "$old"
# An emperor that stood still wakes up with every deadline passed and every word unread.
kill -STOP "$EMPEROR_PID"
sleep 2.5
kill -CONT "$EMPEROR_PID"
sleep 1
check "an emperor that was late does not hold that against it" same_pid beating "$old"
mark
touch "$PUB/stop-beating"
check "a missed watchdog ends it" wait_for 5 logged "ending the vassal" name=beating "missed its watchdog of 1s"
check "and it is started again" wait_for 5 running beating "$old"
check "the reason stays to be seen" wait_for 5 status_says beating "missed its watchdog of 1s"
rm "$VASSALS/beating.yaml"

mark
drop_vassal trigger <<Y
command: [/bin/sh, -c, "$PUB/say READY=1 WATCHDOG=trigger ERRNO=5; sleep infinity"]
ready: notify
restart: {delay: 200ms, max_delay: 1s}
Y
check "a vassal may trigger it by itself" wait_for 5 logged "ending the vassal" name=trigger "WATCHDOG=trigger"
rm "$VASSALS/trigger.yaml"

# ---- late, by so much that each has begun by then
mark
drop_vassal late <<Y
command: [/bin/sh, -c, "trap 'echo asked >$PUB/late; exit 0' TERM; while :; do sleep 0.05; done"]
ready: notify
ready_timeout: 2s
stop: {signal: TERM}
restart: {delay: 1m, max_delay: 1m}
Y
check "one that is not ready in time is at fault" wait_for 10 logged "name=late" "was not ready within 2s"
check "it is asked to end" wait_for 5 is asked cat "$PUB/late"
check "and waits for its next try" wait_has late state waiting

drop_vassal slow <<Y
command: [/bin/sh, -c, "$PUB/say EXTEND_TIMEOUT_USEC=60000000; sleep 2.5; $PUB/say READY=1; sleep infinity"]
ready: notify
ready_timeout: 2s
Y
check "one that asks for more time gets it" wait_has slow ready true
check "in its first life" has slow restarts 0

# ---- at its end
cat >"$PUB/leaving.py" <<'P'
import os, signal, socket, sys, time
pub = sys.argv[1]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def say(text): s.sendto(text.encode(), "\0" + os.environ["NOTIFY_SOCKET"][1:])
def end(*_):
    say("STOPPING=1\nEXTEND_TIMEOUT_USEC=25000000")
    time.sleep(4) # longer than its timeout
    open(f"{pub}/whole", "w").write("whole")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
say("READY=1")
while not os.path.exists(f"{pub}/leave"): time.sleep(0.05)
say("STOPPING=1")
while True: signal.pause()
P
for name in slowly never; do
  drop_vassal $name <<Y
command: [$PYTHON, $PUB/leaving.py, $PUB]
ready: notify
stop: {signal: TERM, timeout: 3s}
restart: {delay: 1m, max_delay: 1m}
Y
  wait_has $name ready true
done
mark
rm "$VASSALS/slowly.yaml"
check "one that asks for more time for its end gets it" wait_for 15 is whole cat "$PUB/whole"
check "and ends" wait_gone slowly
check "by itself" unlogged "killing the whole tree" name=slowly
mark
touch "$PUB/leave"
check "one that says that it stops is heard" wait_for 5 logged "says that it stops" name=never
check "and is not ready any more" wait_has never ready false
check "it has the time of a stop, no more" wait_for 15 grep -q "ending the vassal name=never.*did not within 3s" "$LOG"
check "and pauses before its next life" wait_has never state waiting
rm "$VASSALS/never.yaml"

# ---- the main process
drop_vassal forker <<Y
command:
  - /bin/sh
  - -c
  - |
    sh -c 'trap "echo main >$PUB/heard; exit 0" TERM; touch $PUB/hears; while :; do sleep 0.05; done' &
    until [ -e $PUB/hears ]; do sleep 0.02; done
    $PUB/say "MAINPID=\$!" READY=1
    wait
ready: notify
stop: {signal: TERM, timeout: 20s}
Y
wait_has forker ready true
inner_pid() { awk '/^NSpid:/ {print $NF}' "/proc/$(field forker pid)/status"; }
check "its main process is the one that it names, not process 1" more_than 1 inner_pid
rm "$VASSALS/forker.yaml"
check "the main process hears the signal" wait_for 10 is main cat "$PUB/heard"
check "and its end is the end of all" wait_gone forker

# named NAME CODE POLICY THEN: its main process exits with CODE when it is told to; THEN is what its first one does.
named() {
  drop_vassal "$1" <<Y
command:
  - /bin/sh
  - -c
  - |
    echo begun >>$PUB/$1.starts
    sh -c 'until [ -e $PUB/$1.go ]; do sleep 0.05; done; exit $2' &
    $PUB/say "MAINPID=\$!" READY=1
    $4
ready: notify
restart: {policy: $3, delay: 100ms, max_delay: 1s}
Y
  wait_has "$1" ready true
  mark
  touch "$PUB/$1.go"
}
named done 0 on-failure "wait; exec sleep infinity"
check "how the main process ended is how the vassal did" wait_for 10 logged "name=done" "exited with code 0"
check "so that its policy holds" wait_for 10 is ended vassal_field "done" .state
named exile 26 always "exec sleep infinity"
check "also if its parent never asked" wait_for 10 logged "name=exile" "exited with code 26"
check "and 26 holds, too" wait_for 10 is failed vassal_field exile .state
check "each was started once" is "1 1" sh -c "echo \$(wc -l <$PUB/done.starts) \$(wc -l <$PUB/exile.starts)"

# ---- tcp
drop_vassal port <<Y
command: [/bin/sh, -c, "until [ -e $PUB/listen ]; do sleep 0.05; done; exec $PYTHON -m http.server 8000"]
directory: $PUB
ready: {tcp: 8000}
network: {address: 10.107.0.21, firewall: {default: deny}}
Y
wait_running port
check "one that does not listen is not ready" has port ready false
touch "$PUB/listen"
check "one that listens is, whatever its firewall says" wait_has port ready true

# ---- who is heard
drop_vassal jailed <<Y
command:
  - $PYTHON
  - -c
  - |
    import os, socket, time
    os.chroot("$PUB")
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.sendto(b"READY=1", "\0" + os.environ["NOTIFY_SOCKET"][1:])
    time.sleep(1e6)
user: root
capabilities: [SYS_CHROOT]
ready: notify
Y
check "one in a chroot is heard" wait_has jailed ready true

drop_vassal mute <<Y
command: [/bin/sleep, infinity]
ready: notify
network: {address: 10.107.0.22}
Y
wait_running mute
check "nobody outside can speak for it" fails env NOTIFY_SOCKET=@mini-emperor/notify "$PUB/say" READY=1
drop_vassal liar <<Y
command: [/bin/sh, -c, "$PUB/say READY=1; NOTIFY_SOCKET=@mini-emperor/notify $PUB/say STATUS=mine; sleep infinity"]
ready: notify
Y
wait_for 10 status_says liar ready=true 'says="mine"'
check "another vassal's word is its own" has mute ready false
check "whatever it is" fails status_says mute says=

# ---- a flood
drop_vassal flood <<Y
command: [$PYTHON, -c, "import os,socket; s=socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\nwhile True: s.sendto(b'STATUS=x', chr(0)+os.environ['NOTIFY_SOCKET'][1:])"]
ready: notify
Y
wait_running flood
ticks() { cut -d' ' -f14,15 "/proc/$EMPEROR_PID/stat" | tr ' ' +; }
before=$(($(ticks)))
begun=$(now_ms)
settled
sleep 1
spent=$((($(ticks) - before) * 10))
note "the emperor spent $spent ms in $(($(now_ms) - begun)) ms under a flood of messages"
check "a flood of messages takes little of the emperor's time" test "$spent" -lt $((($(now_ms) - begun) / 2))
rm "$VASSALS/flood.yaml"
check "and it ends as any other" wait_gone flood

# ---- what was said is shown by the next emperor, too
drop_vassal erring <<Y
command: [/bin/sh, -c, '$PUB/say READY=1 ERRNO=11; exec sleep infinity']
ready: notify
Y
drop_vassal loyal <<Y
command: [$PYTHON, -c, 'import os, time; [os.write(int(os.environ["UWSGI_EMPEROR_FD"]), bytes([byte])) for byte in (1, 5, 17)]; time.sleep(10**6)']
ready: emperor
stop: {signal: KILL}
Y
check "an errno is shown" wait_has erring errno 11
check "and who serves as he was meant to" wait_has loyal loyal true
wait_for 15 is 11 vassal_field erring .kept.alive.said.errno
wait_for 15 is true vassal_field loyal .kept.alive.said.loyal
kill_emperor
start_emperor
check "by the next emperor" has erring errno 11
check "as well" has loyal loyal true
check "and that he accepts" has loyal accepting true

check "the emperor ends with 0" stop_emperor
