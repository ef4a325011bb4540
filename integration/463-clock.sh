# The wall clock jumps by years, to and fro, while the emperor runs: nothing it does goes by that clock.
#
#   emperor + a library in between ── clock_gettime(CLOCK_REALTIME) ── now ± years, another at each call

. "$(dirname "$0")/lib.sh"

cat >"$W/jump.c" <<'C'
#define _GNU_SOURCE
#include <stdlib.h>
#include <time.h>
#include <sys/syscall.h>
#include <unistd.h>
static long years(void) {
  static unsigned state = 1;
  state = state * 1103515245u + 12345u;
  return ((long)(state >> 16) % 41 - 20) * 31536000L;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
  int answer = syscall(SYS_clock_gettime, clock, now);
  if (answer == 0 && clock == CLOCK_REALTIME) now->tv_sec += years();
  return answer;
}
time_t time(time_t *out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
C
cc -shared -fPIC -O1 -o "$W/jump.so" "$W/jump.c"
chmod 755 "$W/jump.so"
real=$EMPEROR
cat >"$W/bin/jumping" <<S
#!/bin/sh
LD_PRELOAD=$W/jump.so exec "$real" "\$@"
S
chmod +x "$W/bin/jumping"
EMPEROR=$W/bin/jumping
start_emperor
stamps() { head -n 20 "$LOG" | cut -c1-4 | sort -u | wc -l; }
drop_vassal web <<<"{command: [/bin/sleep, infinity], network: {address: 10.107.0.10}}"
check "a vassal starts" wait_running web
check "the log's dates do jump" wait_for 5 more_than 2 stamps
drop_vassal slow <<Y
command: [/bin/sh, -c, "date +%s%N >>$PUB/slow; exit 1"]
restart: {delay: 400ms, max_delay: 400ms}
Y
lines() { wc -l <"$PUB/slow"; }
check "restarts come" wait_for 15 more_than 4 lines
check "each after its delay, by a clock that does not jump" "$PYTHON" - "$PUB/slow" <<'P'
import sys
t = [int(line) / 1e6 for line in open(sys.argv[1])][:5]
gaps = [round(b - a) for a, b in zip(t, t[1:])]
print(gaps)
assert all(380 <= gap <= 60000 for gap in gaps)
P
drop_vassal stubborn <<'Y'
command: [/bin/sh, -c, 'trap "" TERM; while :; do sleep 0.1; done']
stop: {signal: TERM, timeout: 700ms}
Y
wait_running stubborn
wait_for 15 heeds stubborn TERM
begun=$(now_ms)
rm "$VASSALS/stubborn.yaml"
check "a stop comes to its end" wait_gone stubborn
took=$(($(now_ms) - begun))
check "and not before its timeout: $took ms" [ $took -ge 650 ]
mkdir "$W/sock"
drop_vassal idle <<Y
command: [/bin/sleep, infinity]
on_demand: {socket: $W/sock/s, idle: 1s}
Y
wait_for 15 listens "$W/sock/s"
"$PYTHON" -c 'import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])' "$W/sock/s"
check "a client starts one" wait_running idle
drop_vassal web <<<"{command: [/bin/sleep, infinity], network: {address: 10.107.0.10}, hostname: other}"
host_name() { nsenter -t "$(vassal_pid web)" -u hostname; }
check "an edit is seen" wait_for 15 says other host_name
check "the emperor ends with 0" stop_emperor
check "nothing is left" wait_for 15 is "" processes
