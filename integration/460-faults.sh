# What the emperor runs out of, one thing after the other: it says so, everybody else goes on, and all is well again when
# there is enough.

. "$(dirname "$0")/lib.sh"

others_go_on() { # others_go_on WHAT
  check "$1: who runs goes on" same_pid web "$WEB"
  check "$1: and answers" says "hello" fetch http://10.107.0.10:8080/
}
# drop_web [LINE]: who must go on meanwhile; LINE is one more of its definition.
drop_web() {
  drop_vassal web <<Y
command: [mini-emperor, demo, serve, --port, "8080", --text, hello]
network: {address: 10.107.0.10}
${1:-}
Y
}
# begin: an emperor, under which `web` answers.
begin() {
  start_emperor
  wait_running web
  WEB=$(vassal_pid web)
  wait_for 15 says hello fetch http://10.107.0.10:8080/
}
drop_web
begin

# ---- descriptors
descriptors() { find "/proc/$EMPEROR_PID/fd" -mindepth 1 | wc -l; }
before=$(descriptors)
mark
SOFT=$(prlimit --pid "$EMPEROR_PID" --nofile --noheadings --output SOFT | tr -d " ")
prlimit --pid "$EMPEROR_PID" --nofile="$((before + 3)):"
drop_vassal late <<<"{command: [/bin/sleep, infinity], network: {address: 10.107.0.11}}"
check "no descriptors: a birth fails and says why" wait_for 15 logged "vassal failed; it is tried again" "name=late" "EMFILE" "raise the emperor's limit of open files"
others_go_on "no descriptors"
victim=$WEB
kill -KILL "$victim"
check "no descriptors: one that dies is buried" wait_for 15 logged "name=web" "killed by signal 9"
prlimit --pid "$EMPEROR_PID" --nofile="$SOFT:"
check "when there are enough, both run" wait_running late
check "the one that died, too" wait_running web "$victim"
WEB=$(vassal_pid web)
check "and answer" wait_for 15 says hello fetch http://10.107.0.10:8080/
rm "$VASSALS/late.yaml"
wait_gone late
check "none is lost on the way" wait_for 15 sh -c "[ \$(find /proc/$EMPEROR_PID/fd -mindepth 1 | wc -l) -le $((before + 1)) ]"
mark
prlimit --pid "$EMPEROR_PID" --nofile="$(descriptors):"
kill -USR1 "$EMPEROR_PID"
check "with none at all, signals are heard" wait_for 15 logged "status name=web"
others_go_on "not one descriptor"
drop_vassal unread <<<"{command: [/bin/sleep, infinity]}"
check "not one descriptor: a file that cannot be read is said" wait_for 15 logged "Too many open files"
prlimit --pid "$EMPEROR_PID" --nofile="$SOFT:"
check "and read when there are" wait_running unread
rm "$VASSALS/unread.yaml"
wait_gone unread
check "the emperor ends with 0" stop_emperor
rm "$VASSALS"/*.yaml

# ---- descriptors of an emperor that comes after a crash
# limited SOFT:HARD: starts the emperor with that limit of open files, and waits until it is ready or ends.
limited() {
  mark
  prlimit --nofile="$1" "$EMPEROR" run "$VASSALS" --config "$SETTINGS" </dev/null >>"$W/emperor.out" 2>>"$LOG" &
  EMPEROR_PID=$!
  wait_for 15 decided
}
decided() { logged "emperor ready" || fails kill -0 "$EMPEROR_PID"; }
most_of() { awk '/^Max open files/ { print $4, $5 }' "/proc/$1/limits"; }
cat >"$W/bin/count" <<P
#!/bin/sh
ulimit -Sn >$W/hook.nofile
P
chmod +x "$W/bin/count"
limited 48:4096
check "the emperor takes all descriptors that it may have" is "4096 4096" most_of "$EMPEROR_PID"
names=
for n in $(seq 20); do
  names="$names many$n"
  drop_vassal "many$n" <<<'{command: [/bin/sleep, infinity]}'
done
drop_vassal talks <<<'{command: [/bin/sleep, infinity], ready: notify, hooks: {pre_start: ['"$W/bin/count"']}}'
for name in $names talks; do wait_running "$name"; done
check "its vassals get what it was given" is "48 4096" most_of "$(vassal_pid many1)"
check "and so do hooks" is 48 cat "$W/hook.nofile"
before=$(who $names talks)
full=$(descriptors)
for less in 4 25 35 50 75; do
  kill_emperor
  limited "$((full - less)):$((full - less))"
  check "$less descriptors fewer: nobody is ended for that" is "$before" who $names talks
  if kill -0 "$EMPEROR_PID" 2>/dev/null; then continue; fi
  check "$less fewer: that no start is possible is said" logged "EMFILE" "raise the emperor's limit of open files"
  EMPEROR_PID=
  start_emperor
  check "$less fewer: the next one goes on with all" is "$before" who $names talks
done
check "one start was not possible" grep -q "cannot go on with this vassal" "$LOG"
check "nobody lost anything" fails grep "ending the vassal" "$LOG"
check "the emperor ends with 0" stop_emperor
rm "$VASSALS"/*.yaml

# ---- room for the state
mkdir -p "$RUN"
mount -t tmpfs -o size=128k,mode=0755 small "$RUN"
drop_web
begin
dd if=/dev/zero of="$RUN/fill" bs=4k 2>/dev/null || true
mark
drop_vassal late <<<"{command: [/bin/sleep, infinity], network: {address: 10.107.0.11}}"
check "no room for the state: a birth fails and says why" wait_for 15 logged "name=late" "No space left on device" "make room there"
others_go_on "no room for the state"
drop_web "restart: {max_delay: 2m}"
check "no room for the state: what cannot be written of others is said" \
  wait_for 15 logged "name=web" "No space left on device" "another emperor would not know"
others_go_on "still no room for the state"
mark
rm "$RUN/fill"
check "when there is room, what could not be written is" wait_for 15 logged "name=web" "can be written again"
check "when there is room, it runs" wait_running late
check "the emperor ends with 0" stop_emperor
umount "$RUN"
rm "$VASSALS/late.yaml"
mkdir -p "$STATE"
mount -t tmpfs -o size=64k,mode=0755 small "$STATE"
begin
dd if=/dev/zero of="$STATE/fill" bs=4k 2>/dev/null || true
mark
drop_vassal late <<<"{command: [/bin/sleep, infinity]}"
check "no room for addresses: that they may change is said" wait_for 15 logged "addresses may change after a restart" "No space left"
check "and the vassal runs all the same" wait_running late
others_go_on "no room for addresses"
rm "$STATE/fill"
drop_vassal after <<<"{command: [/bin/sleep, infinity]}"
wait_running after
check "when there is room, they are remembered" wait_for 15 jq -e '.late and .after' "$STATE/addresses.json"
check "the emperor ends with 0" stop_emperor
umount "$STATE"
check "nothing is left" wait_for 15 is "" processes
