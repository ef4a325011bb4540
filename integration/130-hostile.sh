# timeout: 300
# A vassal with CAP_NET_RAW sends a million frames that no polite kernel would, and some more to the other engine: what
# should not arrive does not, every frame is counted under its reason, and nobody else notices.
#
#                     +----------- the router -----------+--- emperor0 (tcpdump)
#                     |                |          |      |
#   mallory 10.107.0.66    carol 10.107.0.4     alice -- bob
#           fd00:107::66   fd00:107::4           .2  ping  .3
#   (CAP_NET_RAW)          (tcpdump, MTU 1280)   (tcpdump)
#
# HOSTILE_FRAMES=N   how many; 1000000 if unset

. "$(dirname "$0")/lib.sh"

frames=${HOSTILE_FRAMES:-1000000}
cp "$(dirname "$0")/raw.py" "$(dirname "$0")/hostile.py" "$PUB/"
mkfifo -m 0666 "$PUB/news" "$PUB/orders"
exec 3<>"$PUB/news" 4<>"$PUB/orders"

for name in alice:2 bob:3; do
  drop_vassal "${name%:*}" <<Y
command: [/bin/sleep, infinity]
network: {address: [10.107.0.${name#*:}, "fd00:107::${name#*:}"]}
Y
done
drop_vassal carol <<'Y'
command: [/bin/sleep, infinity]
network:
  address: [10.107.0.4, "fd00:107::4"]
  mtu: 1280
  firewall: {in: ["deny any any udp 3"]}
Y
# watch NAME DEVICE [PID]: captures what arrives at a device, in that network or in the host's.
declare -A watchers
watch() {
  ${3:+nsenter -t "$3" -n --} tcpdump -i "$2" -Q in -n -s 128 -B 65536 --immediate-mode -U -w "$W/$1.pcap" 2>"$W/$1.watch" &
  watchers[$1]=$!
  bystander $!
  wait_for 10 grep -q "listening on" "$W/$1.watch"
}
# watched NAME COMMAND…: ends the capture; nothing may have escaped it. The command pings that device: what is captured
# before that has come before it.
END="the end!"
watched() {
  "${@:2}" -q -c 1 -W 10 -p "$(printf %s "$END" | od -An -tx1 | tr -d ' ')" || return 1
  wait_for 30 grep -qaF "$END" "$W/$1.pcap" || return 1
  kill -INT "${watchers[$1]}"
  wait "${watchers[$1]}" || true
  grep -q "^0 packets dropped by kernel" "$W/$1.watch" || { cat "$W/$1.watch"; return 1; }
  "$PYTHON" "$PUB/hostile.py" count "$W/$1.pcap" "$1" "$W/$1.wrong" "$END" >"$W/$1.seen"
}

# take_figures: every figure of the router, as lines `NAME.KEY FIGURE`.
take_figures() {
  ask_status >/dev/null || return 1
  news | grep -w status | awk '{
    name = ""
    for (i = 1; i <= NF; i++) {
      split($i, part, "=")
      gsub("\"", "", part[2])
      if (part[1] == "name" || part[1] == "uplink") name = part[2]
      else if (part[1] ~ /packets$|^dropped/) print name "." part[1], part[2]
    }
  }' | sort >"$W/figures"
}
keep_figures() { cp "$W/figures" "$W/figures.kept"; }

# figures_of WORD: the figures of that name that are not 0.
figures_of() { take_figures && grep "$1.* [^0]" "$W/figures"; true; }

# changed: what is new since they were kept, of what mallory sent and of what carol got or lost.
changed() {
  take_figures || return 1
  join "$W/figures.kept" "$W/figures" | awk '
    $2 != $3 && /^(mallory\.(transmit|dropped)|carol\.(receive|dropped)|(alice|bob)\.dropped)/ {print $1 "=" $3 - $2}' | xargs
}

# class NAME FATE ACCEPTED TAKEN PINGS: the counters say of these frames what must be said, and nothing else. The last
# frame is counted when it has been written, and may have been answered by then.
# What mallory's own kernel says in between is multicast.
class() {
  local fate=$2 frames=$3 taken=$4 pings=$5 noise=0
  case $1 in vnet-*) frames=$((taken - pings)) ;; *) noise=$((taken - pings - frames)) ;; esac
  if [ "$fate" = any ]; then
    wait_for 15 adds_up "$taken" || return 1
    echo "$1 $(cat "$W/sent")" >>"$W/any.wanted"
    return
  fi
  declare -A wanted=(
    [carol.receive_packets]=$pings [mallory.transmit_packets]=$pings [mallory.dropped.multicast]=$noise
  )
  more() { wanted[$1]=$((${wanted[$1]:-0} + frames)); }
  case $fate in
    to-carol) more carol.receive_packets; more mallory.transmit_packets ;;
    to-host) more mallory.transmit_packets ;;
    *:*) more "${fate%:*}.dropped.${fate#*:}" ;;
    *) more "mallory.dropped.$fate" ;;
  esac
  wait_for 15 is "$(for key in "${!wanted[@]}"; do echo "$key=${wanted[$key]}"; done | grep -v '=0$' | sort | xargs)" changed
}
# adds_up TAKEN: each frame is counted once, as sent or as dropped, by whomever. How many of them were sent, with the
# pings among them, is written down: so many must arrive.
adds_up() {
  local words word sum=0 sent=0
  words=$(changed)
  for word in $words; do
    case $word in
      mallory.transmit_packets=*) sent=${word#*=} ;;&
      mallory.* | *.dropped.*) sum=$((sum + ${word#*=})) ;;
    esac
  done
  echo "$sent" >"$W/sent"
  echo "$words"
  [ "$sum" = "$1" ]
}

heard_from_mallory() { local line; read -r -t 60 -u 3 line && echo "$line"; }
workers() { local t; for t in /proc/"$EMPEROR_PID"/task/*; do echo "${t##*/} $(<"$t/comm")"; done | grep ' router-'; }

# quantile FILE PART: of the round trips that ping wrote there, in ms.
quantile() {
  grep -oE 'time=[0-9.]+' "$W/$1" | cut -d= -f2 | sort -n |
    awk -v part="$2" '{at[NR] = $1} END {print at[int((NR - 1) * part) + 1]}'
}
# lost FILE: the numbers of the pings that were not answered, up to the last one that was.
lost() {
  grep 'time=' "$W/$1" | grep -oE 'icmp_seq=[0-9]+' | cut -d= -f2 | sort -nu |
    awk '{while (++number < $1) print number}'
}
answers() { grep -c 'time=' "$W/$1"; }

declare -A pids
# begin ENGINE FRAMES: a new emperor, everybody at home, the watchers at their places.
begin() {
  sed -i "s|^router: .*|router: {address: [10.107.0.1/24, 'fd00:107::1/64'], engine: $1}|" "$SETTINGS"
  rm -f "$W"/*.wanted "$W"/*.seen
  drop_vassal mallory <<Y
command: [$PYTHON, $PUB/hostile.py, send, tun0, "$2", $PUB/news, $PUB/orders]
env: {PYTHONDONTWRITEBYTECODE: "1"}
capabilities: [CAP_NET_RAW]
log: {to: inherit}
restart: {policy: never}
network:
  address: [10.107.0.66, "fd00:107::66"]
  firewall: {out: ["deny any any udp 1", "reject any any udp 2"]}
Y
  start_emperor
  for name in alice bob carol mallory; do check "$name runs" wait_running $name; done
  check "the generator is ready" is ready heard_from_mallory
  for name in alice bob carol mallory; do pids[$name]=$(vassal_pid $name); done
  threads=$(workers)
  watch carol tun0 "${pids[carol]}"
  watch alice tun0 "${pids[alice]}"
  watch bob tun0 "${pids[bob]}"
  watch uplink emperor0
  nsenter -t "${pids[alice]}" -n -- ping -n -i 0.005 -c 400 10.107.0.3 >"$W/calm"
  check "in calm no ping is lost" is "400 answers" eval 'echo "$(answers calm) answers$(lost calm)"'
}

# storm: mallory sends, class by class, while alice pings bob.
storm() {
  nsenter -t "${pids[alice]}" -n -- ping -n -i 0.005 10.107.0.3 >"$W/storm" 2>&1 & pinger=$!
  bystander $pinger
  take_figures
  keep_figures
  begun=$(now_ms) sent=0 refused=0
  echo go >&4
  while read -r -t 100 -u 3 name fate accepted no taken pings && [ "$name" != end ]; do
    check "$name: $accepted sent, $no refused, $((taken - pings)) on their way: $fate" \
      class "$name" "$fate" "$accepted" "$taken" "$pings"
    keep_figures
    sent=$((sent + accepted)) refused=$((refused + no))
    case $fate in to-*) echo "$name $((taken - pings))" >>"$W/${fate#to-}.wanted" ;; esac
    echo go >&4
  done
  seconds=$((($(now_ms) - begun) / 1000))
  # The storm is over when the pings of its time are.
  check "alice still pings" wait_for 15 more_than $(($(answers storm) + 20)) answers storm
  kill -INT $pinger
  wait $pinger || true
  note "$((sent + refused)) frames ($refused refused by mallory's own kernel) in $seconds s"
  check "it was all of them" more_than $((count - 1)) echo $((sent + refused))
}

seen() { grep -v anything "$W/$1.seen" | sort; }
# anything: of the classes in which each frame is another, how many were seen by all watchers together.
anything() { cat "$W"/{alice,bob,carol,uplink}.seen | awk '/anything/ {n[$1] += $2} END {for (name in n) print name, n[name]}' | sort; }
# arrived: what the watchers saw is what may be seen.
arrived() {
  check "nothing escaped alice's watcher" watched alice ping 10.107.0.2
  check "nor bob's" watched bob ping 10.107.0.3
  check "nor carol's" watched carol ping 10.107.0.4
  check "nor the host's" watched uplink in_vassal alice ping 10.107.0.1
  check "carol got what she may get, and nothing else" is "$(sort "$W/carol.wanted")" seen carol
  check "so did the host" is "$(sort "$W/host.wanted")" seen uplink
  check "alice and bob got nothing of it" is "" eval 'seen alice; seen bob'
  check "of anything, what was counted as sent arrived, at one of them" is "$(sort "$W/any.wanted")" anything
  for who in alice bob carol uplink; do
    check "$who got nothing that nobody may get" is "" head -n 5 "$W/$who.wrong"
    note "$(awk '{n += $2} END {print n + 0}' "$W/$who.seen") frames reached $who, $(awk '/anything/ {n += $2} END {print n + 0}' "$W/$who.seen") of them of anything"
  done
}

# noticed: nobody else has come to harm.
noticed() {
  check "no ping between alice and bob was lost" is "" lost storm
  for weather in calm storm; do
    note "round trips in the $weather: p50 $(quantile $weather 0.5) ms, p99 $(quantile $weather 0.99) ms"
  done
  check "the router's threads are the same as before" is "$threads" workers
  for name in alice bob carol mallory; do
    check "$name is the same process as before" same_pid $name "${pids[$name]}"
  done
  check "no queue was ever full" is "" figures_of queue_full
  note "cut in software, because the kernel would not: $(figures_of segmented)"
  check "mallory's next good packet passes" in_vassal mallory ping -q -c 1 -W 2 10.107.0.3
  check "the emperor ends with 0" stop_emperor
}

for run in "auto $frames" "epoll $((frames / 5))"; do
  read -r engine count <<<"$run"
  begin "$engine" "$count"
  take_figures
  note "$(grep -F "status uplink" "$LOG" | tail -n 1 | grep -oE 'engine=[a-z_]+')"
  storm
  arrived
  noticed
done
MARK=0
check "no error was logged" fails logged ERROR
