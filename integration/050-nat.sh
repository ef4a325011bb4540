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

forwarding() { cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding | xargs; }
no_forwarding() { echo 0 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv6/conf/all/forwarding; }
no_forwarding
start_emperor
check "forwarding is switched on" is "1 1" forwarding
check "that is said" logged "set /proc/sys/net/ipv4/ip_forward to 1"
check "for IPv6 too" logged "set /proc/sys/net/ipv6/conf/all/forwarding to 1"
wait_running web
check "the internet sees the host's IPv4 address" says "you are 198.51.100.2" out http://198.51.100.1:8080/
check "the internet sees the host's IPv6 address" says "you are 2001:db8:1::2" out 'http://[2001:db8:1::1]:8080/'
check "ping over IPv4" in_vassal web ping -q -c 2 -i 0.2 -W 2 198.51.100.1
check "ping over IPv6" in_vassal web ping -q -c 2 -i 0.2 -W 2 2001:db8:1::1
sum=$(sha256sum <"$W/www/bulk")
whole() { is "$sum" sh -c "nsenter -t $(vassal_pid web) -n curl -gsS -m 60 '$1' | sha256sum"; }
check "20 MB over IPv4 arrive whole" whole http://198.51.100.1:8081/bulk
check "20 MB over IPv6 arrive whole" whole 'http://[2001:db8:1::1]:8081/bulk'
ip addr add 198.51.100.3/24 dev wan0
check "what is not of the router's subnets keeps its address" says "you are 198.51.100.3" \
  fetch --interface 198.51.100.3 http://198.51.100.1:8080/
ip link set wan0 mtu 1300
on_internet ip link set inet0 mtu 1300
check "a narrower way out is found" whole http://198.51.100.1:8081/bulk
ip link set wan0 mtu 1500
on_internet ip link set inet0 mtu 1500
check "the emperor ends with 0" stop_emperor

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

no_forwarding
settings '{ip_forward: false}'
start_emperor
wait_running web
check "nat: {ip_forward: false} leaves forwarding off" is "0 0" forwarding
check "and says nothing of it" fails logged "ip_forward"
check "the emperor ends with 0" stop_emperor

# Neither programs nor libraries of others take part in any of it.
no_forwarding
settings '{}'
for tool in nft ip iptables; do
  if found=$(command -v $tool); then mount --bind /bin/false "$(readlink -f "$found")"; fi
done
start_emperor
check "it runs where nft, ip and iptables do not" wait_running web
check "with a way out" says "you are 198.51.100.2" out http://198.51.100.1:8080/
check "it is linked with no library but the C runtime's" is "" \
  sh -c "ldd '$EMPEROR' | grep -v -e linux-vdso -e ld-linux -e 'lib\(c\|m\|gcc_s\)\.so'"
check "the emperor ends with 0" stop_emperor
