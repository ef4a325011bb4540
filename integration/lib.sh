# shellcheck shell=bash
# The fake host in which one scenario plays, and the words that scenarios are written in.
#
# `integration/run` starts each scenario as the first process of new network, mount and PID namespaces; this
# file then furnishes them. Whatever a scenario leaves behind ends with its PID namespace, and nothing of the
# real host is configured, only read.
#
#   +-- internet (netns) ----+          +-- host (netns of the scenario) ---------------+
#   | 198.51.100.1/24        |  veth    | 198.51.100.2/24                   emperor0    |
#   | 2001:db8:1::1/64   inet0 -------- wan0   2001:db8:1::2/64   10.107.0.1/24         |
#   +------------------------+          |                         fd00:107::1/64        |
#                                       +-----------------------------------|-----------+
#                                                                      the router
#                                                                       |      |
#                                                                    vassal  vassal

set -Eeuo pipefail

: "${REAL_NETNS:?start scenarios with integration/run}" "${MINI_EMPEROR:?}"
if [ "$(readlink /proc/self/ns/net)" = "$REAL_NETNS" ] || [ $$ -ne 1 ]; then
  echo "Bail out! a scenario must not play on the real host; start it with integration/run" >&2
  exit 2
fi

SCENARIO=$(basename "$0" .sh)
RUN=/run/mini-emperor STATE=/var/lib/mini-emperor LOGS=/var/log/mini-emperor
W=/run/scenario          # everything of this scenario
VASSALS=$W/vassals       # the directory of definitions
SETTINGS=$W/emperor.yaml
LOG=$W/emperor.log       # what the emperor says
PUB=$W/pub               # scripts and results that vassals run and write
PYTHON=/usr/bin/python3  # not one below a home directory, which a vassal could not execute
[ -x "$PYTHON" ] || PYTHON=$(command -v python3)
EMPEROR_PID=
INTERNET_PID=
CHECKS=0 FAILED=0

# ---- checks -------------------------------------------------------------------------------------------

# check NAME COMMAND…: one line of TAP; on failure, what the command said. The command runs in this shell, so
# that it can wait for the shell's children.
check() {
  local name=$1
  shift
  CHECKS=$((CHECKS + 1))
  if "$@" >"$W/said" 2>&1; then
    echo "ok $CHECKS - $name"
  else
    FAILED=$((FAILED + 1))
    echo "not ok $CHECKS - $name"
    sed -n '1,40s/^/#   /p' "$W/said"
  fi
}

# skip NAME REASON: loud, and a failure where everything must run.
skip() {
  CHECKS=$((CHECKS + 1))
  if [ "${MUST_RUN:-0}" = 1 ]; then
    FAILED=$((FAILED + 1))
    echo "not ok $CHECKS - $1: would be skipped: $2"
  else
    echo "ok $CHECKS - $1 # SKIP $2"
  fi
}

note() { printf '#   %s\n' "$*"; }

# is WANTED COMMAND…: the command prints exactly WANTED.
is() {
  local wanted=$1 got
  shift
  got=$("$@" 2>&1) || true
  [ "$got" != "$wanted" ] || return 0
  case $wanted$got in
    *$'\n'*) diff -u --label wanted --label "$*" <(echo "$wanted") <(echo "$got") || true ;;
    *) printf 'wanted: %s\ngot:    %s\nfrom:   %s\n' "$wanted" "$got" "$*" ;;
  esac
  return 1
}

# says TEXT COMMAND…: the command succeeds and prints TEXT somewhere.
says() {
  local wanted=$1 got
  shift
  got=$("$@" 2>&1) || { printf 'failed: %s\n%s\n' "$*" "$got"; return 1; }
  case $got in *"$wanted"*) ;; *) printf 'wanted: …%s…\ngot:    %s\n' "$wanted" "$got"; return 1 ;; esac
}

# fails COMMAND…: it must not succeed.
fails() {
  if "$@"; then echo "succeeded: $*"; return 1; fi
}

# wait_for SECONDS COMMAND…: until it succeeds; else says what it said last.
wait_for() {
  local seconds=$1 said= end
  shift
  end=$(($(now_ms) + ${seconds%.*} * 1000))
  until said=$("$@" 2>&1); do
    if [ "$(now_ms)" -ge $end ]; then
      printf 'not within %s s: %s\nlast said: %s\n' "$seconds" "$*" "$said"
      return 1
    fi
    sleep 0.02
  done
}

now_ms() { local us=${EPOCHREALTIME/[.,]/}; echo $((us / 1000)); }

# ---- the emperor --------------------------------------------------------------------------------------

# start_emperor [ARGUMENT…]: in the background, until it says that it is ready.
start_emperor() {
  : >>"$LOG"
  mark
  "$EMPEROR" run "$VASSALS" --config "$SETTINGS" "$@" </dev/null >>"$W/emperor.out" 2>>"$LOG" &
  EMPEROR_PID=$!
  wait_for 15 logged "emperor ready" || { echo "Bail out! the emperor does not get ready"; exit 1; }
}

# stop_emperor [SIGNAL]: its exit code is the result.
stop_emperor() {
  local pid=$EMPEROR_PID
  [ -n "$pid" ] || return 0
  kill -"${1:-TERM}" "$pid" || return 1
  wait_for 40 fails kill -0 "$pid" || { kill -KILL "$pid"; return 1; }
  EMPEROR_PID=
  wait "$pid"
}

# kill_emperor: by SIGKILL; it is gone when this returns.
kill_emperor() {
  kill -KILL "$EMPEROR_PID"
  # Its shell would say that it was killed.
  wait "$EMPEROR_PID" 2>/dev/null || true
  EMPEROR_PID=
}

# mark: `logged` looks only at what is logged from here on.
mark() { MARK=$(stat -c %s "$LOG"); }
news() { tail -c +$((MARK + 1)) "$LOG"; }

# logged TEXT…: one line since the mark holds every TEXT.
logged() {
  local found text
  found=$(news)
  for text; do
    found=$(grep -F -e "$text" <<<"$found") || { echo "no line since the mark with: $*"; news | tail -n 5; return 1; }
  done
}

# unlogged TEXT…: no line since the mark holds every TEXT. The emperor's lines are written by a thread of its own, and so come
# a moment after what they tell of; a status that was asked for just now is behind all of them.
unlogged() { (ask_status) && fails logged "$@"; }

# drop_vassal NAME <YAML: written beside, renamed into place.
drop_vassal() {
  cat >"$VASSALS/.$1.tmp"
  mv "$VASSALS/.$1.tmp" "$VASSALS/$1.yaml"
}

# vassal_pid NAME: the pid of the running vassal, as the fake host sees it.
vassal_pid() {
  local pid
  pid=$(jq -er .pid "$RUN/state/$1.json" 2>/dev/null) || { echo "no state of $1"; return 1; }
  [ -d "/proc/$pid" ] || { echo "$1: pid $pid is gone"; return 1; }
  echo "$pid"
}

# vassal_field NAME FIELD: of its state file.
vassal_field() { jq -er "$2" "$RUN/state/$1.json"; }

# running NAME [OLD]: it runs, under another pid than OLD, and its command has been executed. The emperor hears of that within
# the exec, the last acts of which are the command's rights and arguments.
running() {
  local pid
  pid=$(vassal_pid "$1") || { echo "$pid"; return 1; }
  [ "$pid" != "${2:-}" ] || { echo "$1 is still pid $pid"; return 1; }
  grep -qsa . "/proc/$pid/cmdline" || { echo "$1, pid $pid, has no arguments"; return 1; }
}
# gone NAME: no command of it runs. A vassal that waits to be started again has a state, but no pid.
gone() { ! jq -e .pid "$RUN/state/$1.json" >/dev/null 2>&1 || { echo "$1 still runs"; return 1; }; }
wait_running() { wait_for 10 running "$@"; }
wait_gone() { wait_for 10 gone "$@"; }

# same_pid NAME PID: it runs under exactly that pid.
same_pid() { is "$2" vassal_pid "$1"; }

# executes NAME PROGRAM: its first process is that program by now.
executes() {
  local pid
  pid=$(vassal_pid "$1") || { echo "$pid"; return 1; }
  is "$2" cat "/proc/$pid/comm"
}

# heeds NAME SIGNAL: its first process has a handler for the signal, or ignores it. A shell that is told to needs a moment.
heeds() {
  local pid mask
  pid=$(vassal_pid "$1") || { echo "$pid"; return 1; }
  for mask in $(awk '/^Sig(Cgt|Ign):/ {print $2}' "/proc/$pid/status"); do
    if (((0x$mask >> ($(kill -l "$2") - 1)) & 1)); then return; fi
  done
  echo "$1, pid $pid, does not heed SIG$2"
  return 1
}

# settled: the emperor has looked at everything that was in the directory a moment ago, and what it said of it is in the log.
# A new vassal that ran after a change proves that the change before it has been read.
SETTLED=0 SETTLE_ADDRESS=10.107.0.254
settled() {
  SETTLED=$((SETTLED + 1))
  drop_vassal "settle$SETTLED" <<<"{command: [/bin/sleep, infinity], network: {address: $SETTLE_ADDRESS}}"
  wait_running "settle$SETTLED" || return 1
  rm "$VASSALS/settle$SETTLED.yaml"
  wait_gone "settle$SETTLED" || return 1
  # Unless its log is elsewhere.
  [ "$(readlink "/proc/$EMPEROR_PID/fd/2")" != "$LOG" ] || wait_for 10 grep -q "vassal gone name=settle$SETTLED\$" "$LOG"
}

# in_vassal NAME COMMAND…: with the host's programs and rights, in the vassal's network.
in_vassal() {
  local pid
  pid=$(vassal_pid "$1") || return 1
  shift
  nsenter -t "$pid" -n -- "$@"
}

# one_syn COMMAND…: in a network (of this shell, or by `in_vassal NAME`) that lets a single SYN out to port 8080.
one_syn() {
  local within=()
  if [ "$1" = in_vassal ]; then within=("$1" "$2"); shift 2; fi
  "${within[@]}" nft -f - <<'N'
table inet once {
  chain out {
    type filter hook output priority 0
    tcp dport 8080 tcp flags & (syn|ack) == syn limit rate over 1/hour burst 1 packets drop
  }
}
N
  "${within[@]}" "$@"
  local code=$?
  "${within[@]}" nft delete table inet once
  return $code
}

# listens SOCKET: somebody listens at that path; the file is there a moment before.
listens() { ss -Hlx | grep -F " $1 " || { echo "nobody listens at $1"; return 1; }; }

on_internet() { nsenter -t "$INTERNET_PID" -n -- "$@"; }

fetch() { curl -gsS --noproxy '*' -m "${PATIENCE:-5}" "$@"; }

# ask_status: has the table logged that SIGUSR1 asks for, from the mark on. Its last line is the uplink's: who does not wait
# for that may meet the rest of this table when he asks for the next.
ask_status() {
  mark
  kill -USR1 "$EMPEROR_PID"
  wait_for 15 logged "status uplink=" || return 1
}
# counter NAME KEY: one figure of a fresh status table.
counter() {
  local before=$MARK line
  ask_status || { MARK=$before; return 1; }
  line=$(status_line "$1") || { echo "no status of $1"; MARK=$before; return 1; }
  MARK=$before
  grep -oE "(^| )${2//./\\.}=[0-9]+" <<<"$line" | tail -n 1 | cut -d= -f2
}
# status_says NAME TEXT…: its line in a fresh status table holds every TEXT.
status_says() {
  local name=$1 line text
  shift
  ask_status || return 1
  line=$(status_line "$name") || { echo "no status of $name"; return 1; }
  for text; do
    case $line in *"$text"*) ;; *) printf 'wanted: %s\ngot:    %s\n' "$text" "$line"; return 1 ;; esac
  done
}
status_line() { news | grep -w status | grep -E "name=\"?$1\"?( |\$)" | tail -n 1 | grep .; }

# more_than LEAST COMMAND…: the command prints a number above LEAST.
more_than() {
  local least=$1 got
  shift
  got=$("$@") || { echo "$got"; return 1; }
  [ "${got:-0}" -gt "$least" ] || { echo "wanted more than $least, got ${got:-nothing}"; return 1; }
}

# ---- an emperor that is not root ------------------------------------------------------------------------

# be_user: from here on the emperor, its definitions and its directories are those of user 4242, who has a tun device as other
# systems have it. start_as_user starts it.
be_user() {
  ID=4242
  RUN=/run/user/$ID/mini-emperor
  mkdir -p "/run/user/$ID" "$W/home" "$W/own" "$W/dev"
  chmod 700 "/run/user/$ID"
  cp "$MINI_EMPEROR" "$W/own/mini-emperor"
  EMPEROR=$W/own/mini-emperor
  mount -t tmpfs -o mode=0755 scenario "$W/dev"
  mknod -m 0666 "$W/dev/tun" c 10 200
  mount --bind "$W/dev/tun" /dev/net/tun
  chown -R $ID:$ID "/run/user/$ID" "$W/home" "$W/own" "$VASSALS" "$PUB"
  printf 'defaults: {stop: {signal: KILL}}\n' >"$SETTINGS"
  AS_USER=(setpriv --reuid $ID --regid $ID --clear-groups --inh-caps=-all --
    env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME="$W/home" XDG_RUNTIME_DIR=/run/user/$ID)
}

# settle_at_home DEFAULTS: everything below the user's home, and nothing of the host changed.
settle_at_home() {
  RUN=$W/home/run
  cat >"$SETTINGS" <<Y
run_directory: $RUN
state_directory: $W/home/state
log_directory: $W/home/log
nat: {masquerade: false, ip_forward: false}
defaults: $1
Y
}

# start_as_user: in the background, until it says that it is ready.
start_as_user() {
  : >>"$LOG"
  mark
  "${AS_USER[@]}" "$EMPEROR" run "$VASSALS" --config "$SETTINGS" </dev/null >/dev/null 2>>"$LOG" &
  EMPEROR_PID=$!
  wait_for 15 logged "emperor ready"
}

# ---- two vassals that are reached, and streams that last ------------------------------------------------

# drop_pair: `left` is 10.107.0.2 and `right` 10.107.0.3; both serve HTTP on port 8080. What comes for `right` on UDP
# port 9 is denied.
drop_pair() {
  local name n=2 rules=
  for name in left right; do
    drop_vassal $name <<Y
command: [mini-emperor, demo, serve, --port, "8080"]
network: {address: [10.107.0.$n, "fd00:107::$n"], firewall: {in: [$rules]}}
Y
    n=$((n + 1)) rules='"deny any any udp 9"'
  done
}

# right_denies: of the datagrams that are sent to it now, `left` and the host three over each family, it refuses those to
# port 9 and no other.
right_denies() {
  local before got port from to
  for port in 10 9; do
    before=$(counter right dropped.denied) || return 1
    for from in "" "in_vassal left"; do
      for to in 10.107.0.3 fd00:107::3; do
        # Its kernel says that nobody listens, and the second or third send would fail with it.
        $from "$PYTHON" -c 'import socket, sys
for _ in range(3):
    with socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(b"x", (sys.argv[1], int(sys.argv[2])))' $to $port || return 1
      done
    done
    if [ $port = 9 ]; then got=$((before + 12)); else got=$before; fi
    # What is answered has come behind them, and they have been judged.
    for from in "" "in_vassal left"; do
      for to in 10.107.0.3 fd00:107::3; do $from ping -q -c 1 -W 10 $to || return 1; done
    done
    is "$got" counter right dropped.denied || return 1
  done
}

# open_streams FILE: from `left` and from the host to `right`, for as long as the scenario lasts. FILE tells of each
# that is opened or closed, and of gaps.
open_streams() {
  nsenter -t "$(vassal_pid right)" -n -- "$PYTHON" "$PUB/stream.py" sink 7001 "$1" & helper $!
  wait_for 10 test -s "$1"
  nsenter -t "$(vassal_pid left)" -n -- "$PYTHON" "$PUB/stream.py" source 10.107.0.3 7001 & helper $!
  "$PYTHON" "$PUB/stream.py" source 10.107.0.3 7001 & helper $!
  wait_for 10 is 2 grep -c open "$1"
}

# streams_move: each of them brings bytes from now on.
streams_move() { local before; before=$(brought) || return 1; wait_for 20 brought_more "$before"; }
# brought: what each stream has brought to `right`, as lines PEER BYTES.
brought() {
  in_vassal right ss -HtniO state established "sport = :7001" |
    sed -nE 's/.* ([0-9.]+:[0-9]+) .* bytes_received:([0-9]+).*/\1 \2/p' | sort
}
brought_more() {
  local after
  after=$(brought) || return 1
  [ "$(join <(echo "$1") <(echo "$after") | awk '$3 > $2' | wc -l)" = 2 ] || { printf '%s\nand now:\n%s\n' "$1" "$after"; return 1; }
}

uptime_s() { "$PYTHON" -c 'import time; print(f"{time.monotonic():.3f}")'; }
# largest_gap FILE FROM: in milliseconds, of those that ended after FROM, a time of uptime_s.
largest_gap() { awk -v from="$2" '$1 == "gap" && $3 > from && $2 > most { most = $2 } END { printf "%d\n", most * 1000 }' "$1"; }

# who NAME…: each with its pid.
who() { local name; for name; do echo "$name $(vassal_pid "$name")"; done; }

# ---- what must be the same before and after -----------------------------------------------------------

# belongings: everything in the fake host that an emperor could leave behind.
belongings() {
  echo "links:";      ip -o link show | awk '{print $2}' | sort
  echo "routes:";     ip route show | sort; ip -6 route show | grep -v '^fe80\|^multicast' | sort
  echo "tables:";     nft list tables
  echo "namespaces:"; for p in /proc/[0-9]*; do readlink "$p/ns/net" 2>/dev/null || true; done | sort -u | wc -l
  echo "processes:";  processes
  echo "run:";        find "$RUN" -mindepth 1 2>/dev/null | sort || true
}

# processes: every command in this PID namespace but the scenario's own shells and helpers.
# Only builtins until the list is whole, so that it does not list its own tools.
processes() {
  local p words list=()
  for p in /proc/[0-9]*; do
    case " $BYSTANDERS " in *" ${p#/proc/} "*) continue ;; esac
    mapfile -d '' -t words 2>/dev/null <"$p/cmdline" || continue
    case ${words[*]} in ""|"bash $0") ;; *) list+=("${words[*]}") ;; esac
  done
  [ ${#list[@]} -eq 0 ] || printf '%s\n' "${list[@]}" | sort
}
BYSTANDERS=

# bystander PID: a helper of the scenario, not to be counted among the leftovers.
bystander() { BYSTANDERS="$BYSTANDERS $1"; }

# helper PID: a bystander that must be gone before the end is looked at; it would keep a namespace alive.
HELPERS=()
helper() { bystander "$1"; HELPERS+=("$1"); }
end_helpers() { kill -KILL "${HELPERS[@]}" 2>/dev/null || true; wait "${HELPERS[@]}" 2>/dev/null || true; HELPERS=(); }

# mute DIRECTORY UID GID [OPTION]: a file system of that user lies there and answers nobody, until `unmute DIRECTORY`.
mute() {
  : >"$W/mounted"
  "$PYTHON" "$(dirname "$0")/mute.py" "$@" >"$W/mounted" & MUTE=$!
  helper $MUTE
  wait_for 10 grep -q mounted "$W/mounted"
}
unmute() {
  kill -KILL $MUTE
  wait $MUTE 2>/dev/null || true
  umount "$1"
}

# drop_slow_end NAME FILE: a vassal whose post_stop writes `begin` to FILE, waits for FILE.go, and writes `end`. It is removed
# at once, and its hook has begun when this returns.
drop_slow_end() {
  drop_vassal "$1" <<Y
command: [/bin/sleep, infinity]
hooks: {post_stop: [/bin/sh, -c, 'echo begin >>$2; until [ -e $2.go ]; do sleep 0.02; done; echo end >>$2']}
Y
  wait_running "$1"
  rm "$VASSALS/$1.yaml"
  wait_for 10 test -s "$2"
}

# ---- furniture ----------------------------------------------------------------------------------------

furnish() {
  mount --make-rprivate /
  mount -t tmpfs -o mode=0755 scenario /run
  mount -t tmpfs -o mode=0755 scenario /var/log
  mount -t tmpfs -o mode=0755 scenario /var/lib
  if [ -d /etc/mini-emperor ]; then mount -t tmpfs scenario /etc/mini-emperor; fi
  mkdir -p "$W" "$VASSALS" "$W/tmp"
  mkdir -m 0777 "$PUB"
  export TMPDIR=$W/tmp
  # The emperor's own directory cannot be entered by others, as is often so below a home directory.
  mkdir -m 0700 "$W/bin"
  : >"$W/bin/mini-emperor"
  mount --bind "$MINI_EMPEROR" "$W/bin/mini-emperor"
  EMPEROR=$W/bin/mini-emperor
  # A vassal without a handler for SIGTERM is the first process of its PID namespace and would not hear it.
  cat >"$SETTINGS" <<'YAML'
router: {address: [10.107.0.1/24, "fd00:107::1/64"]}
defaults:
  stop: {signal: KILL, timeout: 5s}
  restart: {delay: 100ms, max_delay: 1s}
YAML
  build_internet
}

build_internet() {
  ip link set lo up
  unshare --net -- sleep infinity &
  INTERNET_PID=$!
  bystander "$INTERNET_PID"
  wait_for 5 fails is "$(readlink /proc/self/ns/net)" readlink "/proc/$INTERNET_PID/ns/net"
  ip link add wan0 type veth peer name inet0 netns "$INTERNET_PID"
  ip addr add 198.51.100.2/24 dev wan0
  ip addr add 2001:db8:1::2/64 dev wan0 nodad
  ip link set wan0 up
  on_internet ip link set lo up
  on_internet ip addr add 198.51.100.1/24 dev inet0
  on_internet ip addr add 2001:db8:1::1/64 dev inet0 nodad
  on_internet ip link set inet0 up
  ip route add default via 198.51.100.1
  ip -6 route add default via 2001:db8:1::1
  # A fresh link takes a moment until it carries.
  wait_for 10 ping -q -c 1 -W 1 198.51.100.1
  wait_for 10 ping -q -c 1 -W 1 2001:db8:1::1
}

# finish: whatever happened, count, and show the emperor's log if anything went wrong.
finish() {
  local code=$?
  trap - EXIT
  if [ $code -ne 0 ]; then
    FAILED=$((FAILED + 1))
    echo "# $SCENARIO broke off with exit code $code at ${BROKE:-its end}"
  fi
  stop_emperor >/dev/null 2>&1 || true
  echo "1..$CHECKS"
  if [ $FAILED -gt 0 ]; then
    echo "# $SCENARIO: $FAILED failed; the end of the emperor's log:"
    tail -n "${LOG_LINES:-60}" "$LOG" 2>/dev/null | sed 's/^/#   | /'
    exit 1
  fi
}

BROKE=
trap 'BROKE="${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND"' ERR
trap finish EXIT
furnish
