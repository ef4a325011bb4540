# mini-emperor upgrade: another binary in the place of the running one, and nobody notices.
#
#   old ── exec ── new       same pid, same children; the tuns stay open
#    └── left ══ TCP ══ right

. "$(dirname "$0")/lib.sh"
cp "$(dirname "$0")/stream.py" "$PUB/"

drop_pair
drop_vassal talker <<Y
command: [$PYTHON, -u, $PUB/stream.py, lines, "1000"]
Y
drop_vassal quitter <<'Y'
command: [/bin/sh, -c, "trap 'exit 7' USR1; while :; do sleep 0.05; done"]
Y
drop_vassal slow <<'Y'
command: [/bin/sleep, infinity]
restart: {delay: 1h, max_delay: 1h}
Y
start_emperor
all="left right talker quitter"
for name in $all slow; do wait_running $name; done
wait_for 10 heeds quitter USR1
kill -KILL "$(vassal_pid slow)"
wait_for 5 gone slow

# Another binary, with another way to be told apart.
new() { # new NAME
  cp "$MINI_EMPEROR" "$W/$1"
  chmod 0755 "$W/$1"
}
new second
new third
upgrade() { "$@" upgrade --config "$SETTINGS"; }
parent() { awk '/^PPid/{print $2}' "/proc/$1/status"; }

open_streams "$W/gaps"

check "one of them denies what its firewall says" right_denies
before=$(who $all)
for binary in second third; do
  moved=$(counter right receive_packets)
  from=$(uptime_s)
  begun=$(now_ms)
  check "upgrade to the $binary: done" says "$W/$binary" upgrade "$W/$binary"
  note "it took $(($(now_ms) - begun)) ms"
  check "it is that binary, in the same process" is "$W/$binary" readlink "/proc/$EMPEROR_PID/exe"
  check "the same vassals" is "$before" who $all
  check "its own children" is "$EMPEROR_PID" parent "$(vassal_pid left)"
  check "they are reached" wait_for 5 fetch http://10.107.0.2:8080/healthz
  check "the firewall of one of them holds" right_denies
  # How long it may take is a goal of the benchmark.
  check "both streams go on" streams_move
  check "no stream was lost" fails grep close "$W/gaps"
  note "largest gap of a stream: $(largest_gap "$W/gaps" "$from") ms"
  check "counters go on" more_than "$moved" counter right receive_packets
done
check "a back-off goes on" is waiting vassal_field slow .state
check "no line of output is lost or repeated" says " 0 twice" "$PYTHON" "$PUB/stream.py" unbroken "$LOGS/talker.log"
mark
kill -USR1 "$(vassal_pid quitter)"
check "an exit status is that of a child" wait_for 5 logged "name=quitter" "exited with code 7"
wait_running quitter
check "it holds one lock, one uplink and the tuns, and no more than before" \
  is "1 1" sh -c "ls -l /proc/$EMPEROR_PID/fd | grep -c '/lock\$' | tr '\n' ' '; ip -o link show type tun | wc -l"

# ---- what is refused leaves all as it was
before=$(who $all)
running_binary() { readlink "/proc/$EMPEROR_PID/exe"; }
refused() { # refused TEXT COMMAND…
  local text=$1 got
  shift
  if got=$("$@" 2>&1); then echo "succeeded: $got"; return 1; fi
  case $got in *"$text"*) ;; *) echo "$got"; return 1 ;; esac
  is "$W/third" running_binary && is "$before" who $all
}
new writable && chmod 0777 "$W/writable"
check "a binary that others may write to is refused" refused "others may write" upgrade "$W/writable"
new foreign && chown 1234 "$W/foreign"
check "a binary of somebody else is refused" refused "uid 1234" upgrade "$W/foreign"
# The emperor looks itself: a request that the command line did not judge.
ask() { # ask BINARY
  printf '{"binary":"%s","refused":null}' "$1" >"$RUN/upgrade.json"
  kill -USR2 "$EMPEROR_PID"
  wait_for 5 sh -c "jq -er .refused $RUN/upgrade.json"
  cat "$RUN/upgrade.json"
  rm "$RUN/upgrade.json"
  return 1
}
check "by the emperor too" refused "others may write" ask "$W/writable"
printf 'no program' >"$W/nonsense" && chmod 0755 "$W/nonsense"
check "if the exec fails it goes on" refused "Exec format error" ask "$W/nonsense"
check "its network too" wait_for 5 fetch http://10.107.0.3:8080/healthz
check "and its births" settled
echo "router: {mtu: 12}" >"$W/bad.yaml"
check "settings that are bad under the new binary" refused "mtu" "$W/second" upgrade --config "$W/bad.yaml"
echo "run_directory: $W/elsewhere" >"$W/other.yaml"
check "where no emperor runs there is none to upgrade" refused "no emperor runs" "$W/second" upgrade --config "$W/other.yaml"
mark
kill -USR2 "$EMPEROR_PID"
check "SIGUSR2 alone does nothing" wait_for 5 logged "SIGUSR2 without a request"

# ---- in the midst of births
for n in $(seq 40); do drop_vassal "many$n" <<<'{command: [/bin/sleep, infinity]}'; done
check "an upgrade while vassals are being born" says "$W/second" upgrade "$W/second"
many() { cat "$RUN"/state/many*.json | jq -n '[inputs | select(.pid)] | length'; }
check "all of them run" wait_for 10 is 40 many
check "each once" wait_for 10 is 41 pgrep -xfc "(/bin/)?sleep infinity" # and that of the fake internet
check "the emperor has no child that nobody waits for" wait_for 10 is 0 sh -c "ps -o stat= --ppid $EMPEROR_PID | grep -c Z"
check "the emperor ends with 0" stop_emperor
check "its run directory is gone" fails test -e "$RUN"
# The kernel takes an io_uring apart, and with it the last hold on the tun, a moment after the process.
check "and its interface and table" wait_for 10 fails sh -c "ip link show emperor0 || nft list tables | grep ."
