# A vassal that speaks to its emperor is heard by the next one, too.
#
#   emperor, killed     emperor, new
#      @mini-emperor/notify ◀── beating (watchdog), rising (not ready yet), forker (another main process),
#                               untold (a watchdog that it never heard of), quiet (it has switched its watchdog off),
#                               reading (its files), mute (it says to nobody that it is ready)
#      control socket ◀──▶ speaker (uWSGI's bytes), served (beside a socket that listens), tired (it asks to be stopped)
#      port 8000 ──▶ late (not ready yet)

. "$(dirname "$0")/lib.sh"
cat >"$PUB/voices.py" <<'P'
"""voices.py beat | quieten | rise FLAG | read BEGUN FLAG | speak FILE | serve | rest WISH FLAG | listen FLAG PORT"""
import os, signal, socket, sys, time

def say(*words):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        try:
            s.sendto("\n".join(words).encode(), "\0" + os.environ["NOTIFY_SOCKET"][1:])
        except OSError:
            pass  # there is no emperor at the moment

def until(flag):
    while not os.path.exists(flag):
        time.sleep(0.02)

def beat():
    number = 0
    say("READY=1")
    while not os.path.exists("/run/scenario/pub/stop-beating"):
        number += 1
        say("WATCHDOG=1", f"STATUS=beat {number}")
        time.sleep(0.1)
    time.sleep(1000)

def quieten():
    say("READY=1", "WATCHDOG_USEC=0")
    time.sleep(1000)

def read(begun, flag):
    say("READY=1")
    say("RELOADING=1")
    open(begun, "w").close()
    until(flag)
    say("READY=1")
    open(flag + ".said", "w").close()
    time.sleep(1000)

def rise(flag):
    until(flag)
    say("READY=1")
    open(flag + ".said", "w").close()
    time.sleep(1000)

def speak(path):
    fd = int(os.environ["UWSGI_EMPEROR_FD"])
    os.write(fd, b"\x01")
    while True:
        byte = os.read(fd, 1)
        with open(path, "a") as file:
            print(byte[0], file=file)
        os.write(fd, b"\x01")

def serve():
    fd = int(os.environ["UWSGI_EMPEROR_FD"])
    socket.socket(fileno=3).accept()[0].close()
    os.write(fd, b"\x01")
    while True:
        try:
            os.write(fd, b"\x1a")
        except OSError:
            pass  # there is no emperor at the moment
        time.sleep(0.1)

def rest(wish, flag):
    def end(*_):
        until(flag)
        os._exit(0)
    signal.signal(signal.SIGTERM, end)
    fd = int(os.environ["UWSGI_EMPEROR_FD"])
    os.write(fd, b"\x01")
    until(wish)
    os.write(fd, b"\x16")
    time.sleep(1000)

def listen(flag, port):
    until(flag)
    with socket.create_server(("", int(port))):
        time.sleep(1000)

globals()[sys.argv[1]](*sys.argv[2:])
P
voice() { # voice NAME KEYS ARGUMENT…
  local name=$1 keys=$2
  shift 2
  printf 'command: [%s, %s/voices.py' "$PYTHON" "$PUB" >"$W/definition"
  printf ', "%s"' "$@" >>"$W/definition"
  printf ']\nrestart: {delay: 100ms, max_delay: 100ms}\n%s\n' "$keys" >>"$W/definition"
  drop_vassal "$name" <"$W/definition"
}
voice beating $'ready: notify\nwatchdog: 1s' beat
voice rising $'ready: notify\nready_timeout: 1m' rise "$PUB/rise"
voice speaker $'ready: emperor\nreload: emperor' speak "$PUB/spoken"
voice late $'ready: {tcp: 8000}\nready_timeout: 1m' listen "$PUB/listen" 8000
drop_vassal forker <<Y
command:
  - /bin/sh
  - -c
  - |
    rm -f $PUB/hears
    sh -c 'trap "echo main >$PUB/heard; exit 0" TERM; touch $PUB/hears; while :; do sleep 0.05; done' &
    until [ -e $PUB/hears ]; do sleep 0.02; done
    $PYTHON -c "import os, socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.sendto(b'MAINPID=\$!\nREADY=1', '\0' + os.environ['NOTIFY_SOCKET'][1:])"
    wait
ready: notify
stop: {signal: TERM, timeout: 20s}
Y
voice quiet $'ready: notify\nwatchdog: 1s\nreload: signal WINCH' quieten
mkdir "$W/sockets"
voice served $'ready: emperor\nreload: signal WINCH\nwatchdog: 1s\non_demand: {socket: '"$W/sockets/served}" serve
untold() { printf 'command: [/bin/sleep, infinity]\nreload: signal WINCH\n%s\n' "${1:-}" | drop_vassal untold; }
untold
start_emperor
ready() { is true vassal_field "$1" .ready; }
wait_for 10 listens "$W/sockets/served"
"$PYTHON" -c 'import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(1)' "$W/sockets/served"
for name in beating speaker forker quiet untold served; do wait_for 10 ready $name; done
for name in rising late; do wait_running $name; done
mark
untold $'ready: notify\nwatchdog: 500ms'
wait_for 10 logged name=untold "updated while it runs"
all="beating rising speaker late forker quiet untold served"
who() { local name; for name in $all; do echo "$name $(vassal_pid $name)"; done; }
beats() {
  ask_status >/dev/null || return 1
  status_line beating | grep -o 'says="beat [0-9]*' | tr -dc 0-9
}
next() { # next COMMAND…: another emperor, by whatever way
  before=$(who)
  beat=$(beats)
  "$@"
}
crash() {
  kill -KILL "$EMPEROR_PID"
  wait "$EMPEROR_PID" 2>/dev/null || true
  start_emperor
}
upgrade() { "$EMPEROR" upgrade --config "$SETTINGS"; }
spoken() { wc -l <"$PUB/spoken"; }
: >"$PUB/spoken"
chmod 0666 "$PUB/spoken"

declare -A old
for way in crash upgrade; do
  next $way >/dev/null
  check "$way: the same vassals, the same main processes" is "$before" who
  check "$way: what a vassal says for people is heard" wait_for 5 more_than "$beat" beats
  sleep 1.3 # longer than the watchdog: that it lives is what is shown
  check "$way: its signs of life, too" is "$before" who
  check "$way: one that was not ready is not" is false vassal_field rising .ready
  told=$(spoken)
  for name in rising beating late forker; do old[$name]=$(vassal_pid $name); done
  kill -HUP "$EMPEROR_PID"
  check "$way: a control socket carries bytes to the vassal" wait_for 5 more_than "$told" spoken
  # SIGHUP restarts those that say nothing else.
  for name in rising beating late forker; do wait_running $name "${old[$name]}"; done
  wait_for 10 ready beating
  wait_for 10 ready forker
done
check "nothing but reloads was said" is 1 sh -c "sort -u $PUB/spoken"

mute() { voice mute "ready: notify"$'\n'"ready_timeout: $1"$'\n'"hooks: {post_start: [/bin/sh, -c, 'echo x >>$W/greeted']}" rise "$PUB/mute"; }
mute 1m
voice reading $'ready: notify\nready_timeout: 10s' read "$PUB/reading" "$PUB/read"
wait_for 10 test -e "$PUB/reading"
settled
reading=$(vassal_pid reading) mute=$(vassal_pid mute)
kill_emperor
touch "$PUB/read" "$PUB/mute"
wait_for 10 test -e "$PUB/read.said"
wait_for 10 test -e "$PUB/mute.said"
mute 2s
start_emperor
check "one that said while there was no emperor that it is ready counts as ready in a while" wait_for 15 ready mute
check "with a word to the operator" wait_for 5 logged name=mute "may have while there was no emperor"
check "it is greeted" wait_for 5 is x cat "$W/greeted"
check "and the same" same_pid mute "$mute"
check "one that said while there was no emperor that it has read its files is ready in a while" wait_for 25 ready reading
check "it had been before, and need not be again" same_pid reading "$reading"

voice tired $'ready: emperor\nreload: emperor\nstop: {signal: TERM, timeout: 1m}' rest "$PUB/tired" "$PUB/rest"
wait_for 10 ready tired
tired=$(vassal_pid tired)
touch "$PUB/tired"
wait_for 10 is stopping vassal_field tired .state
for way in crash upgrade; do
  $way >/dev/null
  check "$way: one that is being stopped still is" is stopping vassal_field tired .state
  check "$way: it is the same" same_pid tired "$tired"
done
touch "$PUB/rest"
check "and then it rests, as it asked to" wait_for 10 is "it asked to be stopped" vassal_field tired .why

next crash
touch "$PUB/rise" "$PUB/listen"
check "one that becomes ready under the next emperor is" wait_for 10 ready rising
check "one whose port opens under the next emperor, too" wait_for 10 ready late
check "in the lives that they had" is "$before" who
mark
touch "$PUB/stop-beating"
check "a missed watchdog is noticed by the next emperor" wait_for 5 logged name=beating "missed its watchdog"
rm "$VASSALS/forker.yaml"
check "its stop signal goes to the main process" wait_for 5 is main cat "$PUB/heard"
check "the emperor ends with 0" stop_emperor
check "nothing is left" wait_for 5 is "" processes
