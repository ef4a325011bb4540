# Rules mean what uWSGI's meant, and what the wider grammar adds.
#
#   internet 198.51.100.1 ---- host 192.168.0.1 ---- the router ---- one 192.168.0.2
#            :8080                                             \---- two 192.168.0.3
#                                                               \--- three 192.168.0.4

. "$(dirname "$0")/lib.sh"

SETTLE_ADDRESS=192.168.0.254
on_internet "$EMPEROR" demo serve --port 8080 >/dev/null & bystander $!
wait_for 5 fetch http://198.51.100.1:8080/healthz >/dev/null

serve() { # serve NAME ADDRESS [FIREWALL]
  drop_vassal "$1" <<Y
command: [mini-emperor, demo, serve, --port, "8080"]
network:
  address: $2
  firewall: ${3:-{\}}
Y
}
# from VASSAL URL: in words, what became of one visit.
from() { in_vassal "$1" "$EMPEROR" demo visit --count 1 "$2" || true; }
dropped="no answer: dropped on the way"
rejected="rejected by a firewall"

# ---- the set of eight rules that uWSGI's documentation gives: internet yes, each other no
cat >"$SETTINGS" <<'Y'
router: {address: 192.168.0.1/24}
defaults: {stop: {signal: KILL}}
firewall:
  out:
    - allow 192.168.0.0/24 192.168.0.1
    - deny  192.168.0.0/24 192.168.0.0/24
    - allow 192.168.0.0/24 0.0.0.0
    - deny
  in:
    - allow 192.168.0.1 192.168.0.0/24
    - deny  192.168.0.0/24 192.168.0.0/24
    - allow 0.0.0.0 192.168.0.0/24
    - deny
Y
serve one 192.168.0.2
serve two 192.168.0.3
start_emperor
wait_running one
wait_running two
check "the gateway is reached" in_vassal one ping -q -c 1 -W 2 192.168.0.1
check "the internet is reached" says "200 OK" from one http://198.51.100.1:8080/
check "another vassal is not" says "$dropped" from one http://192.168.0.3:8080/
check "nor by ping" fails in_vassal one ping -q -c 1 -W 1 192.168.0.3
check "the host reaches the vassals" wait_for 5 fetch http://192.168.0.3:8080/healthz
check "what was denied is counted with the sender" more_than 0 counter one dropped.denied
check "the emperor ends with 0" stop_emperor

# ---- a vassal's own chains
cat >"$SETTINGS" <<'Y'
router: {address: 192.168.0.1/24}
defaults: {stop: {signal: KILL}}
Y
serve three 192.168.0.4
start_emperor
for name in one two three; do wait_running $name; done
pid=$(vassal_pid two)
check "without rules everything passes" wait_for 5 says "200 OK" from one http://192.168.0.3:8080/

serve two 192.168.0.3 '{in: ["deny 192.168.0.2"]}'
check "deny SOURCE stops that source" wait_for 10 says "$dropped" from one http://192.168.0.3:8080/
check "and no other" says "200 OK" from three http://192.168.0.3:8080/

serve two 192.168.0.3 '{in: ["reject 192.168.0.2"]}'
check "reject tells the sender" wait_for 10 says "$rejected" from one http://192.168.0.3:8080/
check "at once" says "$rejected" one_syn in_vassal one sh -c \
  "'$EMPEROR' demo visit --count 1 http://192.168.0.3:8080/ || true"
check "ping is told that it is prohibited" says "Packet filtered" \
  sh -c "nsenter -t $(vassal_pid one) -n ping -c 1 -W 2 192.168.0.3 || true"
check "it is counted as denied" more_than 0 counter two dropped.denied

serve two 192.168.0.3 '{in: ["allow @one any tcp 8080", "reject"]}'
check "@name admits that vassal" wait_for 10 says "200 OK" from one http://192.168.0.3:8080/
check "on that port" says "$rejected" from one http://192.168.0.3:8081/
check "for that protocol" fails in_vassal one ping -q -c 1 -W 1 192.168.0.3
check "and no other vassal" says "$rejected" from three http://192.168.0.3:8080/
old=$(vassal_pid one)
serve one 192.168.0.7
wait_running one "$old"
check "@name follows its vassal to a new address" wait_for 10 says "200 OK" from one http://192.168.0.3:8080/
old=$(vassal_pid three)
serve three 192.168.0.2
wait_running three "$old"
check "who takes the old address is not admitted" says "$rejected" from three http://192.168.0.3:8080/
rm "$VASSALS/one.yaml"
wait_gone one
check "a rule about nobody admits nobody" says "$rejected" from three http://192.168.0.3:8080/

serve two 192.168.0.3 '{in: ["allow any any tcp 8000-8079", "allow any any tcp 8081-9000", "reject"]}'
check "a range of ports begins where it says" wait_for 10 says "nothing listens there" from three http://192.168.0.3:8081/
check "the one before ends below" says "$rejected" from three http://192.168.0.3:8080/
serve two 192.168.0.3 '{in: ["allow any any tcp 8000-8080", "reject"]}'
check "both ends of a range belong to it" wait_for 10 says "200 OK" from three http://192.168.0.3:8080/

serve two 192.168.0.3 '{in: ["allow any any icmp"], default: deny}'
check "default: deny lets what is allowed in" wait_for 10 fails fetch -m 1 http://192.168.0.3:8080/
check "but nothing out" fails in_vassal two ping -q -c 1 -W 1 192.168.0.1
serve two 192.168.0.3 '{in: ["allow any any icmp"], out: ["allow 192.168.0.3 any icmp"], default: deny}'
check "with a rule for each direction a ping passes" wait_for 10 ping -q -c 1 -W 1 192.168.0.3
check "and nothing else" fails fetch -m 1 http://192.168.0.3:8080/

serve three 192.168.0.2 '{out: ["reject any 198.51.100.0/24 tcp", "allow"]}'
check "out stops what leaves" wait_for 10 says "$rejected" from three http://198.51.100.1:8080/
check "and only that" in_vassal three ping -q -c 1 -W 2 198.51.100.1
check "two ran through all of this as one process" same_pid two "$pid"
check "the emperor ends with 0" stop_emperor
