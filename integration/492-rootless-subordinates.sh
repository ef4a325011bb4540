# Without root, and with ids to give: newuidmap(1) maps the user's subordinate ids into the emperor's namespace.
#
#   +-- host ------------------------------------------------------------------+
#   |  uid 4242; 300000 … 365535 are its subordinates                          |
#   |  +-- user namespace of the emperor: 0 = 4242, 1 … 65536 = 300000 … ----+ |
#   |  |  emperor   daemon's: uid 1 = 300000                                 | |
#   |  |            +-- rooted, user namespace: 0 = daemon's 1 = 300000 ---+ | |
#   |  |            +------------------------------------------------------+ | |
#   |  +---------------------------------------------------------------------+ |
#   +--------------------------------------------------------------------------+

. "$(dirname "$0")/lib.sh"

be_user
map() { tr -s ' \n' ' ' <"/proc/$1/$2" | sed 's/^ //; s/ $//'; }
# over FILE <TEXT: it is read as FILE here, and only here.
over() {
  local copy=$W/etc${1//\//-}
  cat >"$copy"
  [ -e "$1" ] || : >"$1"
  mount --bind "$copy" "$1"
}
{ cat /etc/passwd; echo "keeper:x:$ID:$ID::$W/home:/bin/sh"; } | over /etc/passwd
for file in subuid subgid; do echo "keeper:300000:65536" | over /etc/$file; done
before=$(belongings)

id_of() { awk -v key="$2:" '$1 == key {print $2}' "/proc/$1/status"; }
drop_vassal plain <<Y
command: [/bin/sh, -c, "id -un; exec sleep infinity"]
user: daemon
group: daemon
hooks: {pre_start: [/bin/sh, -c, "id -u >$PUB/hook"], post_stop: [/bin/sh, -c, "echo after >$PUB/hook"]}
Y
drop_vassal rooted <<Y
command: [/bin/sh, -c, "id -u; exec sleep infinity"]
user: daemon
group: daemon
namespaces: [pid, mount, uts, ipc, cgroup, user]
capabilities: [NET_ADMIN]
network: {address: 10.107.0.2}
Y
drop_vassal own <<<"{command: [/bin/sleep, infinity]}"
start_as_user
for name in plain rooted own; do wait_running $name; done
check "the emperor is root of the user's ids" is "0 $ID 1 1 300000 65536" map "$EMPEROR_PID" uid_map
check "and groups" is "0 $ID 1 1 300000 65536" map "$EMPEROR_PID" gid_map
check "a vassal can have a user of its own" is 300000 id_of "$(vassal_pid plain)" Uid
check "and group" is 300000 id_of "$(vassal_pid plain)" Gid
check "which is daemon inside" wait_for 5 grep -qx daemon "$W/home/.local/state/mini-emperor/log/plain.log"
check "one without remains the user" is $ID id_of "$(vassal_pid own)" Uid
pid=$(vassal_pid rooted)
check "one with a user namespace is root inside" wait_for 5 grep -qx 0 "$W/home/.local/state/mini-emperor/log/rooted.log"
check "and its user outside" is 300000 id_of "$pid" Uid
check "it pings the gateway" in_vassal rooted ping -q -c 2 -i 0.2 -W 2 10.107.0.1

# ---- adoption
who() { local name; for name in plain rooted own; do echo "$name $(vassal_pid $name)"; done; }
vassals=$(who) users=$(readlink "/proc/$EMPEROR_PID/ns/user")
kill_emperor
check "the next emperor gets ready" start_as_user
check "with the same vassals" is "$vassals" who
check "in their emperor's user namespace" is "$users" readlink "/proc/$EMPEROR_PID/ns/user"
check "and their network" in_vassal rooted ping -q -c 2 -i 0.2 -W 2 10.107.0.1
drop_vassal later <<Y
command: [/bin/sleep, infinity]
user: games
group: games
Y
check "it can give ids, too" wait_running later
check "of the same range" is 300004 id_of "$(vassal_pid later)" Uid
drop_vassal too-far <<Y
command: [/bin/sleep, infinity]
user: "65537"
group: daemon
Y
check "an id that it has not is refused with what it has" wait_for 10 logged too-far.yaml "number 65537" "65537 subordinate ids"
rm "$VASSALS/too-far.yaml"
check "an upgrade" "${AS_USER[@]}" "$EMPEROR" upgrade --config "$SETTINGS"
check "has the same vassals" is "$vassals" who
rm "$VASSALS/plain.yaml"
check "it can end them" wait_gone plain
check "with their hooks" wait_for 5 is after cat "$PUB/hook"
check "the emperor ends with 0" stop_emperor
check "the host is as it was" wait_for 5 is "$before" belongings
