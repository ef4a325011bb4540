# An unmodified uWSGI is a good vassal: it says when it is ready, and hears when it is to reload or to end.
#
#   emperor ◀── 1 5 17 22 26 ── control socket, UWSGI_EMPEROR_FD ── uWSGI: master ── worker
#           ─── 1 reload, 2 end ──▶                                   10.107.0.31:8080
# needs: uwsgi

. "$(dirname "$0")/lib.sh"

if [ -z "${UWSGI:-}" ]; then
  skip "an unmodified uWSGI" "it could not be built"
  exit
fi
# Below a home directory a vassal could not execute it.
cp "$UWSGI" "$PUB/uwsgi"
# app NAME <OPTIONS: its configuration, which is not the emperor's business. Without a language it has nothing
# to say to a request; its statistics answer.
app() {
  { printf '[uwsgi]\nmaster = true\nhttp-socket = :8080\nstats = :1717\nstats-http = true\n'; cat; } >"$PUB/$1.ini"
}
request() { curl -gsS --noproxy '*' -m 5 http://10.107.0.31:8080/ >/dev/null 2>&1 || [ $? -eq 52 ]; }

worker() { pgrep -P "$pid" | sort | tr '\n' ' '; }
# reload_web WHAT: it is asked to reload, and does as it should.
new_workers() { [ "$(worker)" != "$old" ] || { echo "still $old"; return 1; }; }
reload_web() {
  mark
  kill -HUP "$EMPEROR_PID"
  check "$1: it is asked for" wait_for 5 logged "asking the vassal to reload" name=web
  check "$1: it says when it is done" wait_for 10 logged "vassal ready" name=web
  check "$1: the master is the same process" same_pid web "$pid"
  check "$1: its workers are new" wait_for 10 new_workers
  check "$1: it accepts again" wait_for 10 status_says web ready=true accepting=true
  check "$1: it answers again" wait_for 5 request
}

app web <<'I'
heartbeat = 1
processes = 2
I
start_emperor
mark
drop_vassal web <<Y
command: [$PUB/uwsgi, --ini, $PUB/web.ini]
ready: emperor
reload: emperor
watchdog: 5s
stop: {signal: emperor, timeout: 20s}
network: {address: 10.107.0.31}
Y
check "it is ready by its own word" wait_for 10 logged "vassal ready" name=web
check "it accepts" wait_for 10 status_says web ready=true accepting=true
check "it answers" says '"version":"2.' fetch http://10.107.0.31:1717/
check "a request reaches it" request
check "with its first request it is loyal" wait_for 10 status_says web loyal=true
pid=$(vassal_pid web)
check "it knows that it has an emperor" says "has_emperor mode detected" cat "$LOGS/web.log"
check "its control socket is of its own network namespace" is 0 in_vassal web sh -c \
  "grep -c emperor0 /proc/$pid/net/dev || true"

# ---- heartbeats: longer than the watchdog, so each second's byte is what keeps it
old=$(worker)
sleep 6
check "its heartbeats keep the watchdog quiet" same_pid web "$pid"

# ---- reload
reload_web "a reload"

# ---- the whole of it stands still
mark
kill -STOP "$pid" $(worker)
check "one that stands still misses its watchdog" wait_for 10 logged name=web "watchdog of 5s"
check "and is started again" wait_for 20 running web "$pid"
check "and ready again" wait_for 10 status_says web ready=true

# ---- an emperor that is killed
pid=$(vassal_pid web)
check "it has its workers" wait_for 10 is 2 pgrep -c -P "$pid"
old=$(worker)
kill_emperor
start_emperor
check "the next emperor has the same master" same_pid web "$pid"
check "and the same workers" is "$old" worker
check "it is ready and answers" wait_for 10 status_says web ready=true
check "at its address" wait_for 10 request
sleep 6 # longer than the watchdog
check "its heartbeats are heard" same_pid web "$pid"
reload_web "a reload, over the socket that it has always had"

# ---- the end
mark
said=$(wc -l <"$LOGS/web.log")
rm "$VASSALS/web.yaml"
check "it ends" wait_gone web
check "gracefully" wait_for 5 says "graceful shutdown triggered" tail -n "+$((said + 1))" "$LOGS/web.log"
check "in time, and is not killed" unlogged "killing the whole tree" name=web

# ---- it asks to be stopped
app idle <<'I'
idle = 1
die-on-idle = true
processes = 1
I
mark
drop_vassal idle <<Y
command: [$PUB/uwsgi, --ini, $PUB/idle.ini]
ready: emperor
Y
check "one that has nothing to do asks to be stopped, and stays down" wait_for 15 logged name=idle "asked to be stopped"
check "which is what the status says" wait_for 5 status_says idle "it asked to be stopped"

# ---- it never comes up
app broken <<'I'
need-app = true
I
mark
drop_vassal broken <<Y
command: [$PUB/uwsgi, --ini, $PUB/broken.ini]
ready: emperor
restart: {delay: 1m, max_delay: 1m}
Y
check "one without an app is never ready" wait_for 10 logged "vassal ended" name=broken
check "its exit code is told" status_says broken "exited with code"
check "the emperor ends with 0" stop_emperor
