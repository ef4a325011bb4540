# timeout: 600
# Bulk in both directions between everybody, for a while: rates are shown, and nothing breaks under them.
#
#   internet :5203 ---- host 10.107.0.1 :5201 ---- the router ---- left 10.107.0.2
#                                                          \------ right 10.107.0.3 :5202

. "$(dirname "$0")/lib.sh"

seconds=${BULK_SECONDS:-20}
for name in left:2 right:3; do
  drop_vassal "${name%:*}" <<Y
command: [mini-emperor, demo, serve, --port, "8080"]
network: {address: [10.107.0.${name#*:}, "fd00:107::${name#*:}"]}
Y
done
start_emperor
wait_running left
wait_running right
left=$(vassal_pid left) right=$(vassal_pid right)
iperf3 -s -p 5201 >/dev/null 2>&1 & bystander $!
nsenter -t "$right" -n -- iperf3 -s -p 5202 >/dev/null 2>&1 & bystander $!
on_internet iperf3 -s -p 5203 >/dev/null 2>&1 & bystander $!

# stream NAME LEAST ARGUMENT…: from left; at least LEAST Mbit/s, which only a standstill would miss.
stream() {
  local least=$1
  shift
  nsenter -t "$left" -n -- iperf3 -t "$seconds" --json "$@" >"$W/iperf.json" || { jq -r .error "$W/iperf.json"; return 1; }
  rate=$(jq '(.end.sum_received.bits_per_second // .end.sum.bits_per_second) / 1e6 | floor' "$W/iperf.json")
  [ "$rate" -ge "$least" ] || { echo "$rate Mbit/s"; return 1; }
}
rate=0
run() {
  local name=$1
  shift
  check "$name" stream "$@"
  note "$rate Mbit/s"
}
ready() { (exec 3<>"/dev/tcp/$1/$2") 2>&1; }
wait_for 5 ready 127.0.0.1 5201
wait_for 5 ready 10.107.0.3 5202
wait_for 5 ready 198.51.100.1 5203

run "vassal to host" 100 -c 10.107.0.1 -p 5201
run "host to vassal" 100 -c 10.107.0.1 -p 5201 -R
run "vassal to vassal" 100 -c 10.107.0.3 -p 5202
run "vassal to vassal, the other way" 100 -c 10.107.0.3 -p 5202 -R
run "vassal to vassal, eight streams both ways" 100 -c 10.107.0.3 -p 5202 -P 8 --bidir
run "vassal to vassal over IPv6" 100 -c fd00:107::3 -p 5202
run "vassal to internet" 100 -c 198.51.100.1 -p 5203
run "internet to vassal" 100 -c 198.51.100.1 -p 5203 -R
run "small datagrams, as fast as they come" 1 -c 10.107.0.3 -p 5202 -u -b 0 -l 64

check "left ran through all of it as one process" same_pid left "$left"
check "right too" same_pid right "$right"
check "both answer as before" wait_for 5 fetch http://10.107.0.3:8080/healthz
check "what was sent was counted" more_than 1000 counter left transmit_packets
check "and what was received" more_than 1000 counter right receive_packets
MARK=0
check "no error was logged" unlogged ERROR
check "the emperor ends with 0" stop_emperor
