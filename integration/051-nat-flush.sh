# The NAT table is the emperor's own: it comes back when somebody flushes it, goes when the emperor goes, and
# nobody else's table is touched.
#
#   internet :8080 ---- host [ table of the emperor | table "other" of the operator ] ---- vassal 10.107.0.2

. "$(dirname "$0")/lib.sh"

on_internet "$EMPEROR" demo serve --port 8080 >/dev/null & bystander $!
wait_for 5 fetch http://198.51.100.1:8080/healthz >/dev/null
other() {
  nft -f - <<'N'
table inet other {
  set friends { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 }; }
  chain input { type filter hook input priority filter; policy accept; tcp dport 4 drop; }
}
table ip nat {
  chain POSTROUTING { type nat hook postrouting priority srcnat; policy accept; ip saddr 192.0.2.0/24 masquerade; }
}
N
}
others() { nft list table inet other; nft list table ip nat; }
own() { nft list tables | grep -v -x -e "table inet other" -e "table ip nat"; }
outside() { in_vassal web curl -sS -m 1 http://198.51.100.1:8080/; }

other
before=$(others) tables=$(nft list tables)
drop_vassal web <<'Y'
command: [/bin/sleep, infinity]
network: {address: [10.107.0.2, "fd00:107::2"]}
Y
start_emperor
wait_running web
check "the way out is there" says "you are 198.51.100.2" outside
check "a table of the emperor's own does it" own
check "the other tables are as they were" is "$before" others

nft flush ruleset
begun=$(now_ms)
check "after nft flush ruleset the table comes back" wait_for 10 own
note "after $(($(now_ms) - begun)) ms"
check "and the way out" wait_for 10 says "you are 198.51.100.2" outside
other
check "what others then load stays as they load it" is "$before" others
table=$(own | head -n 1)
read -r _ family name <<<"$table"
nft delete table "$family" "$name"
check "after deleting only that table it comes back" wait_for 10 own
check "once" is "$(own | sort -u)" own
check "the other tables are still as they were" is "$before" others
check "the emperor ends with 0" stop_emperor
check "its table is gone" is "$tables" nft list tables
check "the other tables remain as they were" is "$before" others
