# No vassal can pretend to be another, hear another, or hold anything of the emperor's.
#
#                 +---------- the router ----------+
#                 |               |                |
#   mallory 10.107.0.66    alice 10.107.0.2    bob 10.107.0.3
#           fd00:107::66         fd00:107::2       fd00:107::3
#   (CAP_NET_RAW)

. "$(dirname "$0")/lib.sh"

cp "$(dirname "$0")/raw.py" "$PUB/"
heard() { grep -c -F -e "$1" "$W/$2.heard" || true; }
# hears VASSAL: collects every datagram to its port 9 in a file.
hears() {
  nsenter -t "$(vassal_pid "$1")" -n -- "$PYTHON" "$PUB/raw.py" receive 9 >"$W/$1.heard" & bystander $!
  wait_for 5 grep -q listening "$W/$1.heard"
}

for name in alice:2 bob:3; do
  drop_vassal "${name%:*}" <<Y
command: [mini-emperor, demo, serve, --port, "8080"]
network: {address: [10.107.0.${name#*:}, "fd00:107::${name#*:}"]}
Y
done
drop_vassal mallory <<'Y'
command: [/bin/sleep, infinity]
capabilities: [CAP_NET_RAW]
network: {address: [10.107.0.66, "fd00:107::66"]}
Y
start_emperor
for name in alice bob mallory; do check "$name runs" wait_running $name; done

# ---- polite traffic
check "one vassal reaches another" wait_for 5 says "you are 10.107.0.2" in_vassal alice curl -sS -m 5 http://10.107.0.3:8080/
check "over IPv6 too" says "you are fd00:107::2" in_vassal alice curl -gsS -m 5 'http://[fd00:107::3]:8080/'
check "they ping each other" in_vassal bob ping -q -c 2 -i 0.2 -W 2 10.107.0.2
check "a path of one hop more lowers the TTL" says "ttl=63" in_vassal bob ping -c 1 -W 2 10.107.0.2
check "an address that nobody has is answered" says "Unreachable" \
  sh -c "nsenter -t $(vassal_pid bob) -n ping -c 1 -W 2 10.107.0.99 || true"

# ---- borrowed names
hears bob
spoofed=$(counter mallory dropped.spoofed)
check "mallory's own packets arrive" in_vassal mallory "$PYTHON" "$PUB/raw.py" send tun0 10.107.0.66 10.107.0.3 9 own4
check "IPv6 too" in_vassal mallory "$PYTHON" "$PUB/raw.py" send tun0 fd00:107::66 fd00:107::3 9 own6
wait_for 5 is 1 heard own4 bob
wait_for 5 is 1 heard own6 bob
for source in 10.107.0.2 10.107.0.1 10.107.0.99 198.51.100.1 127.0.0.1 0.0.0.0; do
  in_vassal mallory "$PYTHON" "$PUB/raw.py" send tun0 $source 10.107.0.3 9 "false4 $source" 10
done
for source in fd00:107::2 fd00:107::1 fd00:107::99 2001:db8:1::1 ::1; do
  in_vassal mallory "$PYTHON" "$PUB/raw.py" send tun0 $source fd00:107::3 9 "false6 $source" 10
done
in_vassal mallory "$PYTHON" "$PUB/raw.py" send tun0 10.107.0.66 10.107.0.3 9 last4
in_vassal mallory "$PYTHON" "$PUB/raw.py" send tun0 fd00:107::66 fd00:107::3 9 last6
check "what was sent after them arrives" wait_for 5 is 1 heard last6 bob
check "no packet with a borrowed IPv4 source has arrived" is 0 heard false4 bob
check "no packet with a borrowed IPv6 source has arrived" is 0 heard false6 bob
# Those that are nobody's address at all may count as malformed.
check "those that could be somebody's were all counted" more_than $((spoofed + 79)) counter mallory dropped.spoofed
check "and on nobody else's account" is 0 counter alice dropped.spoofed

# The program in the vassal itself, with the one capability that its file gives it.
old=$(vassal_pid mallory)
drop_vassal mallory <<Y
command: [$PYTHON, $PUB/raw.py, send, tun0, 10.107.0.2, 10.107.0.3, "9", within, "1000"]
capabilities: [CAP_NET_RAW]
network: {address: [10.107.0.66, "fd00:107::66"]}
restart: {policy: always, delay: 200ms, max_delay: 200ms}
Y
check "a vassal that spoofs as its business runs" wait_running mallory "$old"
check "its packets are counted too" wait_for 10 more_than 999 counter mallory dropped.spoofed
check "they have not arrived" is 0 heard within bob
drop_vassal mallory <<'Y'
command: [/bin/sleep, infinity]
network: {address: [10.107.0.66, "fd00:107::66"]}
Y
check "without the capability" wait_for 10 is 0000000000000000 \
  sh -c 'awk "/^CapEff/{print \$2}" /proc/$(jq -r .pid '"$RUN"'/state/mallory.json)/status'

# ---- rubbish: the router must outlive it
in_vassal mallory "$PYTHON" "$PUB/raw.py" noise tun0 10.107.0.66 10.107.0.3 >/dev/null
in_vassal mallory "$PYTHON" "$PUB/raw.py" noise tun0 fd00:107::66 fd00:107::3 >/dev/null
check "malformed packets are counted" wait_for 5 more_than 20 counter mallory dropped.malformed
check "mallory's next good packet passes" in_vassal mallory ping -q -c 1 -W 2 10.107.0.3
check "the others talk on" in_vassal alice ping -q -c 1 -W 2 fd00:107::3

# ---- other people's conversations
nsenter -t "$(vassal_pid mallory)" -n -- tcpdump -i tun0 -n -l --immediate-mode >"$W/sniffed" 2>"$W/sniffer" & bystander $!
wait_for 5 grep -q "listening on" "$W/sniffer"
in_vassal alice ping -q -c 50 -i 0.002 -W 2 10.107.0.3 >/dev/null
in_vassal alice ping -q -c 50 -i 0.002 -W 2 fd00:107::3 >/dev/null
in_vassal alice ping -q -c 1 -W 2 -p 4d41524b 10.107.0.66 >/dev/null
check "what is meant for mallory is seen" wait_for 5 grep -q "10.107.0.2 > 10.107.0.66" "$W/sniffed"
check "what the others say to each other is not" fails grep -E "10.107.0.3|fd00:107::3" "$W/sniffed"
check "multicast reaches nobody" fails grep -E "ff02::|224\." \
  <(grep -v -E "10.107.0.66 >|fd00:107::66 >|fe80.* >" "$W/sniffed")

# ---- what a vassal holds
status() { awk -v key="$2:" '$1 == key {print $2}' "/proc/$(vassal_pid "$1")/status"; }
for set in CapInh CapPrm CapEff CapBnd CapAmb; do
  check "its capability set $set is empty" is 0000000000000000 status alice $set
done
check "it can gain no privilege" is 1 status alice NoNewPrivs
check "it ignores no signal" is 0000000000000000 status mallory SigIgn
check "it blocks no signal" is 0000000000000000 status mallory SigBlk
# A program that has just begun still reads its libraries.
check "it has the three standard descriptors and no other" wait_for 5 is "0 1 2" \
  sh -c "ls /proc/$(vassal_pid mallory)/fd | xargs"
check "its supplementary groups are none" is "" status alice Groups
others() { nsenter -t "$(vassal_pid alice)" -p -m -- sh -c 'cat /proc/[0-9]*/cmdline' | tr '\0' ' '; }
check "it sees its own processes" says "demo serve" others
check "it does not see another's" fails says "sleep infinity" others
check "its /sys shows its own network" is "lo tun0" \
  sh -c "nsenter -t $(vassal_pid alice) -n -m ls /sys/class/net | xargs"
check "it has no session with a terminal" is 0 awk '{print $7}' "/proc/$(vassal_pid mallory)/stat"
check "the emperor ends with 0" stop_emperor

# ---- the switch for everybody
cat >"$SETTINGS" <<'Y'
router: {address: [10.107.0.1/24, "fd00:107::1/64"], isolate: true}
defaults: {stop: {signal: KILL}}
Y
start_emperor
for name in alice bob; do wait_running $name; done
check "with router.isolate the host reaches a vassal" wait_for 5 fetch http://10.107.0.3:8080/healthz
check "a vassal reaches the gateway" in_vassal alice ping -q -c 1 -W 2 10.107.0.1
check "a vassal does not reach another" fails in_vassal alice ping -q -c 2 -i 0.2 -W 1 10.107.0.3
check "over IPv6 neither" fails in_vassal alice ping -q -c 2 -i 0.2 -W 1 fd00:107::3
check "that is counted" more_than 0 counter alice dropped.denied
check "the emperor ends with 0" stop_emperor
