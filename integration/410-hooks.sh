# hooks: the operator's programs, run by the emperor when something happens to a vassal.
#
#   clone, tun, addresses ── pre_start ── exec ── post_start ┄┄ pre_stop ── SIGTERM ── the end ── post_stop
#                                │ fails or is late
#                                └── killed, tried again later

. "$(dirname "$0")/lib.sh"

H=$W/hooks
mkdir "$H"
# A hook that writes down its moment and what it knows.
cat >"$H/note" <<'S'
#!/bin/sh
echo "$MINI_EMPEROR_HOOK" >>"$1.order"
env | grep -v '^PWD=\|^_=\|^SHLVL=' | sort >"$1.$MINI_EMPEROR_HOOK"
echo "said by $MINI_EMPEROR_HOOK"
echo "and to stderr" >&2
S
chmod +x "$H/note"
start_emperor
NOTE="[$H/note, $H/web]"
drop_vassal web <<Y
command: [/bin/sh, -c, 'trap "exit 3" TERM; echo web runs; while :; do sleep 0.05; done']
user: daemon
network: {address: [10.107.0.10, "fd00:107::10"], device: web0}
stop: {signal: TERM, timeout: 5s}
hooks: {pre_start: $NOTE, post_start: $NOTE, pre_stop: $NOTE, post_stop: $NOTE}
restart: {policy: never}
Y
wait_running web
pid=$(vassal_pid web)
check "post_start is called" wait_for 5 test -s "$H/web.post_start"
known() { grep -v "^MINI_EMPEROR_END" "$H/web.$1"; }
facts() { # facts MOMENT [PID]
  cat <<F
MINI_EMPEROR_ADDRESS=10.107.0.10 fd00:107::10
MINI_EMPEROR_DEFINITION=$VASSALS/web.yaml
MINI_EMPEROR_DEVICE=web0
MINI_EMPEROR_GID=1
MINI_EMPEROR_HOOK=$1
${2:+MINI_EMPEROR_NETNS=/proc/$2/ns/net
MINI_EMPEROR_PID=$2
}MINI_EMPEROR_UID=1
MINI_EMPEROR_VASSAL=web
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
F
}
check "pre_start knew the vassal, and nothing else of the emperor" is "$(facts pre_start "$pid")" known pre_start
check "post_start too" is "$(facts post_start "$pid")" known post_start
wait_for 5 grep -q "web runs" "$LOGS/web.log"
kill -TERM "$pid"
check "post_stop is called after an end of its own" wait_for 5 test -s "$H/web.post_stop"
check "pre_stop is not" fails test -e "$H/web.pre_stop"
check "post_stop knows how it ended" is "MINI_EMPEROR_END=exited with code 3
MINI_EMPEROR_END_CODE=3" grep "^MINI_EMPEROR_END" "$H/web.post_stop"
check "and has no process any more" is "$(facts post_stop)" known post_stop
: >"$H/web.order"
sed -i 's/policy: never/policy: always/' "$VASSALS/web.yaml"
check "an edit starts it" wait_running web "$pid"
wait_for 5 grep -q post_start "$H/web.order"
rm "$VASSALS/web.yaml"
wait_gone web
wait_for 5 grep -q post_stop "$H/web.order"
check "a life calls them in their order" is "pre_start post_start pre_stop post_stop" sh -c "paste -sd' ' $H/web.order"
check "what hooks say is in the vassal's log, behind their names" \
  wait_for 5 grep -q "^hook pre_stop: said by pre_stop\$" "$LOGS/web.log"
check "standard error too" wait_for 5 grep -q "^hook post_stop: and to stderr\$" "$LOGS/web.log"

# ---- the emperor's rights, the vassal's network, before the first instruction
cat >"$H/rule" <<'S'
#!/bin/sh
exec nsenter --net="$MINI_EMPEROR_NETNS" ip link add dummy7 type veth peer name dummy8
S
chmod +x "$H/rule"
drop_vassal seen <<Y
command: [/bin/sh, -c, 'ls /sys/class/net | paste -sd" "; exec sleep infinity']
hooks: {pre_start: [$H/rule]}
Y
wait_running seen
check "what pre_start does is there at the first instruction" wait_for 5 grep -qx "dummy7 dummy8 lo tun0" "$LOGS/seen.log"
mark
old=$(vassal_pid seen)
echo "{command: [/bin/sh, -c, 'ls /sys/class/net | paste -sd\" \"; exec sleep infinity'], hooks: {post_stop: [/bin/true]}}" | drop_vassal seen
check "another hook is a live change" wait_for 5 logged "updated while it runs" "name=seen"
check "without a restart" same_pid seen "$old"
rm "$VASSALS/seen.yaml"

# ---- failures
mark
drop_vassal refused <<Y
command: [/bin/sh, -c, 'echo ran >>$PUB/refused']
hooks: {pre_start: [/bin/sh, -c, 'echo no such luck; exit 7']}
Y
check "a pre_start that fails is a failed start" wait_for 5 logged "vassal failed; it is tried again" "hook pre_start /bin/sh" "exit status: 7"
check "that is tried again" wait_for 5 sh -c "[ \$(grep -c 'no such luck' $LOGS/refused.log) -ge 2 ]"
check "the command never runs" fails test -e "$PUB/refused"
drop_vassal missing <<Y
command: [/bin/sleep, infinity]
hooks: {pre_start: [/bin/missing], post_start: [/bin/true]}
Y
check "a hook that does not exist too" wait_for 5 logged "name=missing" "No such file"
rm "$VASSALS"/refused.yaml "$VASSALS"/missing.yaml
mark
drop_vassal late <<Y
command: [/bin/sh, -c, 'echo ran >>$PUB/late']
hooks: {pre_start: {command: [/bin/sh, -c, 'sleep 4711 & sleep 4711'], timeout: 300ms}}
restart: {delay: 1m, max_delay: 1m}
Y
check "a late pre_start is a failed start" wait_for 5 logged "name=late" "took longer than 300ms and was killed"
check "it is killed with what it started" wait_for 5 fails pgrep -xf "sleep 4711"
check "the command never ran" fails test -e "$PUB/late"
rm "$VASSALS/late.yaml"
mark
drop_vassal quiet <<Y
command: [/bin/sleep, infinity]
hooks: {post_start: [/bin/false], post_stop: [/bin/false], pre_stop: [/bin/false]}
Y
wait_running quiet
check "another hook's failure is only logged" wait_for 5 logged "name=quiet" "hook post_start /bin/false" "exit status: 1"
check "and the vassal runs" running quiet
rm "$VASSALS/quiet.yaml"
wait_gone quiet

# ---- nobody waits for another's hooks
cat >"$H/slow" <<'S'
#!/bin/sh
echo $$ >>"$0.pids"
exec sleep 4712
S
chmod +x "$H/slow"
for n in $(seq 20); do
  drop_vassal "slow$n" <<<"{command: [/bin/sleep, infinity], hooks: {pre_start: [$H/slow], post_stop: [$H/slow]}}"
done
check "twenty hooks run" wait_for 10 is 20 pgrep -cxf "sleep 4712"
begun=$(now_ms)
check "a vassal beside them starts and ends" settled
note "within $(($(now_ms) - begun)) ms"
check "while they go on" is 20 pgrep -cxf "sleep 4712"
rm "$VASSALS"/slow*.yaml
for n in $(seq 20); do wait_for 10 logged "vassal gone" "name=slow$n"; done
check "a vassal that is removed during pre_start is gone" fails logged "vassal running" "name=slow"
# Their post_stop hooks take just as long; nothing waits for those now.
check "and its hook too" wait_for 10 is 20 pgrep -cxf "sleep 4712"
tail -n 20 "$H/slow.pids" | xargs kill

# ---- pre_stop counts within the stop timeout; post_stop comes before the next pre_start
drop_vassal patient <<Y
command: [/bin/sleep, infinity]
stop: {signal: TERM, timeout: 600ms}
hooks: {pre_stop: [/bin/sleep, "4713"]}
Y
wait_running patient
rm "$VASSALS/patient.yaml"
begun=$(now_ms)
wait_gone patient
took=$(($(now_ms) - begun))
check "a pre_stop that takes longer than stop.timeout does not save it" gone patient
check "but it has that time: it took $took ms" [ $took -ge 550 ]
check "and the hook ends with it" wait_for 5 fails pgrep -xf "sleep 4713"
cat >"$H/pair" <<'S'
#!/bin/sh
echo "begin $MINI_EMPEROR_HOOK" >>"$1"; sleep 0.3; echo "end $MINI_EMPEROR_HOOK" >>"$1"
S
chmod +x "$H/pair"
drop_vassal pair <<Y
command: [/bin/sleep, infinity]
hooks: {pre_start: [$H/pair, $H/pair.log], post_stop: [$H/pair, $H/pair.log]}
restart: {delay: 100ms}
Y
wait_running pair
old=$(vassal_pid pair)
kill -KILL "$old"
wait_running pair "$old"
check "hooks of one vassal never overlap" is "begin pre_start
end pre_start
begin post_stop
end post_stop
begin pre_start
end pre_start" cat "$H/pair.log"

# ---- a hook outlives its emperor, and not the next one's start
cat >"$H/long" <<'S'
#!/bin/sh
[ -e "$1" ] && exit 0
sleep 4714 & sleep 4714
S
chmod +x "$H/long"
for name in left gone; do
  drop_vassal $name <<Y
command: [/bin/sleep, infinity]
hooks: {pre_start: [$H/long, $H/go], post_stop: [/bin/sh, -c, 'echo "\$MINI_EMPEROR_END" >>$H/$name.taken']}
restart: {delay: 100ms}
Y
done
wait_for 10 is 4 pgrep -xfc "sleep 4714"
kill_emperor
: >"$H/go"
rm "$VASSALS/gone.yaml"
start_emperor
for name in left gone; do
  check "what a pre_start of it has made is taken back by post_stop: $name" \
    wait_for 5 is "its emperor ended before its command was reached" cat "$H/$name.taken"
done
check "a hook of an emperor that crashed is ended by the next one, with what it started" wait_for 5 fails pgrep -xf "sleep 4714"
check "which calls its own" wait_running left
check "none is written down any more" wait_for 5 is "" ls "$RUN/hooks"
rm "$VASSALS/left.yaml"

# ---- an emperor that dies the moment after it has made a hook's process
cat >"$H/deadly" <<'S'
#!/bin/sh
[ -e "$1" ] && exit 0
echo $$ >"$0.pid"
kill -KILL "$PPID"
exec sleep 4715
S
chmod +x "$H/deadly"
rm "$H/go"
left=
for round in $(seq 20); do
  drop_vassal "deadly$round" <<<"{command: [/bin/sleep, infinity], hooks: {pre_start: [$H/deadly, $H/go]}}"
  wait "$EMPEROR_PID" 2>/dev/null || true
  rm "$VASSALS/deadly$round.yaml"
  start_emperor
  wait_for 2 fails pgrep -xf "sleep 4715" || { left="$left $round"; kill "$(cat "$H/deadly.pid")"; }
done
: >"$H/go"
check "a hook that kills its emperor as the first thing it does is ended by the next one, 20 times" is "" echo "$left"

# ---- an emperor that dies while a vassal is being stopped
cat >"$PUB/twice" <<'S'
#!/bin/sh
# Ends when it is asked for the second time.
asked=
trap 'if [ -n "$asked" ]; then exit 0; else asked=1; echo >"$0.asked"; fi' TERM
echo >"$0.runs"
while :; do sleep 0.05; done
S
chmod 755 "$PUB/twice"
drop_vassal parting <<Y
command: [$PUB/twice]
stop: {signal: TERM, timeout: 60s}
hooks: {pre_stop: [/bin/sh, -c, 'echo x >>$H/parting']}
Y
wait_for 10 test -e "$PUB/twice.runs"
rm "$VASSALS/parting.yaml"
wait_for 10 test -e "$PUB/twice.asked"
kill_emperor
start_emperor
check "it is asked again by the next" wait_gone parting
check "but its pre_stop is not called again" is x cat "$H/parting"

# ---- a post_stop that is cut short by the end of its emperor
cat >"$H/undo" <<'S'
#!/bin/sh
# Writes down each call, and of a post_stop what it is told, and its end, which waits for $1.go.
[ "$MINI_EMPEROR_HOOK" = post_stop ] || { echo "$MINI_EMPEROR_HOOK" >>"$1.calls"; exit; }
env | grep -v '^PWD=\|^_=\|^SHLVL=' | sort | paste -sd' ' >>"$1.told"
echo begin >>"$1.calls"
until [ -e "$1.go" ]; do sleep 0.02; done
echo end >>"$1.calls"
echo "all undone"
S
chmod +x "$H/undo"
undone() { # undone NAME
  drop_vassal "$1" <<Y
command: [/bin/sh, -c, 'trap "exit 3" TERM; while :; do sleep 0.05; done']
user: daemon
network: {device: $1}
stop: {signal: TERM, timeout: 5s}
restart: {delay: 100ms}
hooks: {pre_start: [$H/undo, $H/$1], post_stop: [$H/undo, $H/$1]}
Y
  wait_for 10 heeds "$1" TERM
}
calls() { paste -sd' ' "$H/$1.calls"; }
begun() { is "$2" grep -c begin "$H/$1.calls"; }
# Its network is made, and its pre_start waits.
in_line() { vassal_field again .kept.alive && is starting vassal_field again .state; }
undone removed
undone again
rm "$VASSALS/removed.yaml"
kill -TERM "$(vassal_pid again)"
for name in removed again; do wait_for 10 begun $name 1; done
check "whoever is started next waits for a post_stop" wait_for 10 in_line
kill_emperor
mkdir -p "$RUN/owed"
echo '{' >"$RUN/owed/odd.7.json"
start_emperor
check "a post_stop that cannot be read is complained of" wait_for 5 logged ERROR "owed=$RUN/owed/odd.7.json" "name=\"odd\""
for name in removed again; do
  check "one that is cut short is called again by the next emperor: $name" wait_for 10 begun $name 2
done
wait_for 10 in_line
kill_emperor
start_emperor
for name in removed again; do check "and by the one after that: $name" wait_for 10 begun $name 3; done
check "without another complaint" unlogged odd
drop_vassal removed <<<"{command: [/bin/sleep, infinity], hooks: {pre_start: [$H/undo, $H/removed]}}"
wait_for 10 is starting vassal_field removed .state
for name in removed again; do : >"$H/$name.go"; done
for name in removed again; do wait_running $name; done
check "to its end, and once; whoever has its name since has waited" is "pre_start begin begin begin end pre_start" calls removed
check "as do the post_stop hooks of starts that no emperor went on with, and the next pre_start" \
  is "pre_start begin begin begin end begin end begin end pre_start" calls again
for name in removed again; do
  check "each time it is told the same: $name" is 1 sh -c "head -n 3 $H/$name.told | sort -u | wc -l"
  check "also how its vassal ended: $name" says "MINI_EMPEROR_END=exited with code 3 MINI_EMPEROR_END_CODE=3" head -n 1 "$H/$name.told"
  check "what it says is in its vassal's log: $name" wait_for 5 grep -q "^hook post_stop: all undone\$" "$LOGS/$name.log"
done
check "none is owed any more" wait_for 5 is "" ls "$RUN/owed"
rm "$VASSALS/removed.yaml" "$VASSALS/again.yaml"
wait_gone removed
wait_gone again

rm -f "$VASSALS"/*.yaml
wait_for 10 is "" ls "$RUN/state"
undone hurried
kill -TERM "$EMPEROR_PID"
wait_for 10 begun hurried 1
check "a second SIGTERM kills it and ends the emperor with 0" stop_emperor
check "which leaves nothing but that" is "owed" ls "$RUN"
rm "$VASSALS/hurried.yaml"
start_emperor
: >"$H/hurried.go"
check "the next one calls it again" wait_for 10 is "pre_start begin begin end" calls hurried

# ---- ends that no emperor sees: of a process that its new parent reaps, and of one that it does not
cat >"$W/keeper.py" <<'P'
import ctypes, signal, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
subprocess.Popen(sys.argv[1:]).wait()
signal.pause()
P
stop_emperor
mark
"$PYTHON" "$W/keeper.py" "$EMPEROR" run "$VASSALS" --config "$SETTINGS" </dev/null >/dev/null 2>>"$LOG" & helper $!
for name in unreaped unseen; do
  if [ $name = unseen ]; then
    start_emperor
  else
    wait_for 15 logged "emperor ready"
    EMPEROR_PID=$(pgrep -P "${HELPERS[-1]}")
  fi
  drop_vassal $name <<<"{command: [/bin/sleep, infinity], hooks: {post_stop: [/bin/sh, -c, 'echo x >>$H/$name']}}"
  wait_running $name
  pid=$(vassal_pid $name)
  kill_emperor
  wait_for 10 fails kill -0 "$(cat "$RUN/lock")"
  kill -KILL "$pid"
  start_emperor
  check "its post_stop is called by the next emperor: $name" wait_for 10 test -s "$H/$name"
  wait_running $name "$pid"
  kill_emperor
done
start_emperor
for name in unreaped unseen; do check "and not again by the one after it: $name" is x cat "$H/$name"; done
end_helpers
rm "$VASSALS/unreaped.yaml" "$VASSALS/unseen.yaml"
wait_gone unreaped
wait_gone unseen

# ---- the end waits for hooks
drop_vassal last <<<"{command: [/bin/sleep, infinity], hooks: {post_stop: [/bin/sh, -c, 'sleep 0.5; echo >$H/last']}}"
wait_running last
check "the emperor ends with 0" stop_emperor
check "after the last hook" test -e "$H/last"
check "nothing is left" wait_for 5 is "" processes
