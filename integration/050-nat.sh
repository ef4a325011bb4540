# Vassals reach the internet under the host's address, in both families, and bulk arrives whole.
#
#   internet 198.51.100.1    veth    host 198.51.100.2              vassal 10.107.0.2
#            2001:db8:1::1 --------- 2001:db8:1::2  emperor0 ------- fd00:107::2
#   :8080 says who asks              masquerade

. "$(dirname "$0")/lib.sh"

on_internet "$EMPEROR" demo serve --port 8080 >/dev/null & bystander $!
mkdir "$W/www"
head -c 20000000 /dev/urandom >"$W/www/bulk"
on_internet "$PYTHON" -m http.server -d "$W/www" --bind :: 8081 >/dev/null 2>&1 & bystander $!
wait_for 5 fetch http://198.51.100.1:8080/healthz >/dev/null
wait_for 5 fetch -o /dev/null http://198.51.100.1:8081/

drop_vassal web <<'Y'
command: [/bin/sleep, infinity]
network: {address: [10.107.0.2, "fd00:107::2"]}
Y
out() { in_vassal web curl -gsS -m "${PATIENCE:-5}" "$@"; }

forwarding=$(cat /proc/sys/net/ipv4/ip_forward)
start_emperor
wait_running web
check "the internet sees the host's IPv4 address" says "you are 198.51.100.2" out http://198.51.100.1:8080/
check "the internet sees the host's IPv6 address" says "you are 2001:db8:1::2" out 'http://[2001:db8:1::1]:8080/'
check "ping over IPv4" in_vassal web ping -q -c 2 -i 0.2 -W 2 198.51.100.1
check "ping over IPv6" in_vassal web ping -q -c 2 -i 0.2 -W 2 2001:db8:1::1
sum=$(sha256sum <"$W/www/bulk")
whole() { is "$sum" sh -c "nsenter -t $(vassal_pid web) -n curl -gsS -m 60 '$1' | sha256sum"; }
check "20 MB over IPv4 arrive whole" whole http://198.51.100.1:8081/bulk
check "20 MB over IPv6 arrive whole" whole 'http://[2001:db8:1::1]:8081/bulk'
check "the host's own traffic keeps its address" says "you are 198.51.100.2" fetch http://198.51.100.1:8080/
ip link set wan0 mtu 1300
on_internet ip link set inet0 mtu 1300
check "a narrower way out is found" whole http://198.51.100.1:8081/bulk
ip link set wan0 mtu 1500
on_internet ip link set inet0 mtu 1500
check "the emperor ends with 0" stop_emperor
note "ip_forward was $forwarding before and is $(cat /proc/sys/net/ipv4/ip_forward) after"

settings() { printf 'router: {address: [10.107.0.1/24, "fd00:107::1/64"]}\ndefaults: {stop: {signal: KILL}}\nnat: %s\n' "$1" >"$SETTINGS"; }
settings '{interfaces: [wan0]}'
start_emperor
wait_running web
check "a named interface masquerades" says "you are 198.51.100.2" out http://198.51.100.1:8080/
stop_emperor
for nat in '{interfaces: [other0]}' '{masquerade: false}'; do
  settings "$nat"
  start_emperor
  wait_running web
  check "nat: $nat does not" fails out -m 2 http://198.51.100.1:8080/
  check "nat: $nat leaves the gateway reachable" in_vassal web ping -q -c 1 -W 2 10.107.0.1
  stop_emperor
done
