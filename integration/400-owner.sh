# run_as_owner: whoever owns a file is whom its vassal runs as, and no trick makes it anybody else.
#
#   /run/scenario/vassals         root     what the operator puts there, chowned to its tenant
#   /run/scenario/homes/alice     alice    her own directory of definitions
#   /run/scenario/homes/bob       bob      his

. "$(dirname "$0")/lib.sh"

# Two tenants; the operator's databases know them.
mkdir "$W/etc" "$W/homes"
for file in passwd group; do cp "/etc/$file" "$W/etc/$file"; done
printf '%s\n' "alice:x:2001:2001::/home/alice:/bin/sh" "bob:x:2002:2002::/home/bob:/bin/sh" >>"$W/etc/passwd"
printf '%s\n' "alice:x:2001:" "bob:x:2002:" "club:x:2003:alice" >>"$W/etc/group"
for file in passwd group; do mount --bind "$W/etc/$file" "/etc/$file"; done
for who in alice bob; do install -d -o $who -g $who "$W/homes/$who"; done
as() { local who=$1; shift; setpriv --reuid "$who" --regid "$who" --clear-groups -- "$@"; }
# put WHO NAME <YAML: the tenant's own shell writes it.
put() { as "$1" sh -c 'umask 022; cat >"$0.tmp" && mv "$0.tmp" "$0.yaml"' "$W/homes/$1/$2"; }
owners() { stat -c '%u:%g' "/proc/$(vassal_pid "$1")"; }
cat >>"$SETTINGS" <<Y
  namespaces: [pid, mount, uts, ipc]
run_as_owner: true
vassals: [$VASSALS, $W/homes/alice, $W/homes/bob]
Y
start() {
  : >>"$LOG"
  mark
  "$EMPEROR" run --config "$SETTINGS" </dev/null >/dev/null 2>>"$LOG" &
  EMPEROR_PID=$!
  wait_for 15 logged "emperor ready"
}
SLEEP='command: [/bin/sleep, infinity]'
start

# ---- what a tenant is for
put alice web <<'Y'
command: [/bin/sh, -c, 'id; hostname; grep NoNewPrivs /proc/self/status; exec sleep infinity']
hostname: alices
namespaces: [pid, mount, uts, ipc, cgroup]
network: {address: 10.107.0.10}
Y
own() { # own NAME KIND…: these namespaces of it are not the emperor's
  local pid kind its
  pid=$(vassal_pid "$1") || return 1
  shift
  for kind; do
    its=$(readlink "/proc/$pid/ns/$kind") || { echo "no $kind"; return 1; }
    [ "$its" != "$(readlink "/proc/$EMPEROR_PID/ns/$kind")" ] || { echo "$kind is the emperor's"; return 1; }
  done
}
check "alice's file runs" wait_running web
check "in namespaces that are all its own" own web net mnt pid uts ipc cgroup
check "as alice" is 2001:2001 owners web
check "and nobody's group beside" wait_for 5 grep -qx "uid=2001(alice) gid=2001(alice) groups=2001(alice)" "$LOGS/web.log"
check "under her host name" wait_for 5 grep -qx alices "$LOGS/web.log"
check "with no new privileges" wait_for 5 grep -q "NoNewPrivs:.1" "$LOGS/web.log"
check "and her address answers" wait_for 5 ping -q -c 1 -W 1 10.107.0.10
check "as process 1 of a pid namespace" says "	1" grep NSpid "/proc/$(vassal_pid web)/status"
put bob job <<<"$SLEEP"
check "bob's runs as bob" wait_running job
check "with bob's ids" is 2002:2002 owners job
check "in the namespaces of the defaults" own job net mnt pid uts ipc
check "and in no others" fails own job cgroup

# ---- the operator's directory, and a change of owner
drop_vassal given <<<"$SLEEP"
check "a file of root is refused" wait_for 5 logged "given.yaml" "belongs to the user root"
chown alice:root "$VASSALS/given.yaml"
check "a file of the group root too" wait_for 5 logged "given.yaml" "belongs to the group root"
chown alice:bob "$VASSALS/given.yaml"
check "and one of a group that is not its owner's" wait_for 5 logged "given.yaml" "alice does not belong to it"
chown alice:club "$VASSALS/given.yaml"
check "one that is chowned runs" wait_running given
check "as that user and group" is 2001:2003 owners given
old=$(vassal_pid given)
chown bob:bob "$VASSALS/given.yaml"
check "a change of owner starts it anew" wait_running given "$old"
check "as the new one" is 2002:2002 owners given
mark
chown 4711:4711 "$VASSALS/given.yaml"
check "an owner whom nobody knows is refused" wait_for 5 logged "given.yaml" "has no such user"
check "and the vassal goes on" is 2002:2002 owners given
rm "$VASSALS/given.yaml"
wait_gone given

# ---- whose file is it?
mark
as alice ln -s ../bob/job.yaml "$W/homes/alice/link.yaml"
check "a symbolic link is refused" wait_for 5 logged "link.yaml" "symbolic link"
ln "$W/homes/bob/job.yaml" "$W/homes/alice/hard.yaml"
check "a hard link to another's file is refused" wait_for 5 logged "alice/hard.yaml" "belongs to uid 2002" "alice to uid 2001"
put alice open <<<"$SLEEP"
wait_running open
as alice chmod 0666 "$W/homes/alice/open.yaml"
check "a file that others can write is refused" wait_for 5 logged "open.yaml" "mode 0666"
as alice chmod 0664 "$W/homes/alice/open.yaml"
check "or the group" wait_for 5 logged "open.yaml" "mode 0664"
old=$(vassal_pid open)
as alice chmod 0644 "$W/homes/alice/open.yaml"
put alice after <<<"$SLEEP"
wait_running after
check "it ran on under its last good bytes" same_pid open "$old"
mark
as alice mkfifo "$W/homes/alice/fifo.yaml"
check "a FIFO is refused, and holds nobody" wait_for 5 logged "fifo.yaml" "not a regular file"
as alice mkdir "$W/homes/alice/dir.yaml"
for trick in 'a b' '-rf' 'x;reboot' $'new\nline' $'esc\e[2J' '..' '$(id)' '@x' "$(printf 'x%.0s' {1..64})"; do
  as alice sh -c 'echo "command: [/bin/sleep, infinity]" >"$0"' "$W/homes/alice/$trick.yaml"
done
check "a name that is none is refused" wait_for 5 logged "x;reboot.yaml" "no good name"
check "and cannot break its line in the log" wait_for 5 logged 'new\nline.yaml' "no good name"
check "a control character is shown" wait_for 5 logged 'esc\u{1b}[2J.yaml' "no good name"
check "and does not reach the terminal" fails grep -q $'\e\\[2J' "$LOG"
put alice after2 <<<"$SLEEP"
wait_running after2
check "nothing of all this runs" is "after after2 job open settings web" sh -c \
  "{ ls $RUN/state | sed 's/.json\$//'; echo settings; } | sort | paste -sd' '"

# ---- what is not a tenant's to ask for
mark
put alice greedy <<'Y'
command: [/bin/sleep, infinity]
user: root
groups: [root]
capabilities: [SYS_ADMIN]
no_new_privileges: false
namespaces: [mount]
log: {to: inherit}
stop: {timeout: 1h}
Y
for key in '`user`' '`groups`' '`capabilities`' '`no_new_privileges: false`' '`log`' '`stop.timeout`'; do
  check "$key is not an owner's to set" wait_for 5 logged "greedy.yaml" "$key"
done
check "nor is it to leave out namespaces" wait_for 5 logged "greedy.yaml" "leaves out pid, uts, ipc"
check "and check says the same" is "2 files, 7 errors, 0 warnings" sh -c \
  "'$EMPEROR' check '$W/homes/alice/greedy.yaml' --config '$SETTINGS' 2>&1 | tail -n 1"
rm "$W/homes/alice/greedy.yaml"

# ---- the way to the file
mark
old=$(vassal_pid web)
chmod 1777 "$W/homes"
put alice late <<<"$SLEEP"
check "a directory above that others can write is refused, sticky or not" wait_for 5 logged "homes" "mode 1777"
check "what ran goes on" same_pid web "$old"
chmod 0755 "$W/homes"
check "when that is mended, the file is taken" wait_running late
mark
mv "$W/homes/bob" "$W/bob" && ln -s "$W/bob" "$W/homes/bob"
check "a link on the way is refused" wait_for 5 logged "homes/bob is a symbolic link"
rm "$W/homes/bob" && mv "$W/bob" "$W/homes/bob"
check "and bob's goes on" is 2002:2002 owners job

# ---- a race: the name is sometimes hers, sometimes a link to what only bob may read
put bob secret <<<'command: [/bin/sh, -c, "echo secret of bob; exec sleep infinity"]'
as bob chmod 0600 "$W/homes/bob/secret.yaml"
wait_running secret
wait_for 5 grep -qx "secret of bob" "$LOGS/secret.log"
put alice race <<<'command: [/bin/sh, -c, "echo race by $(id -u); exec sleep infinity"]'
wait_running race
as alice "$PYTHON" - "$W/homes/alice" "$W/homes/bob/secret.yaml" <<'P'
import os, sys, time
home, secret = sys.argv[1:]
name = f"{home}/race.yaml"
end = time.monotonic() + 3
turn = 0
while time.monotonic() < end:
    turn += 1
    if turn % 2:
        os.symlink(secret, f"{home}/.race")
    else:
        with open(f"{home}/.race", "w") as file:
            file.write(f'command: [/bin/sh, -c, "echo race {turn} by $(id -u); exec sleep infinity"]\n')
        os.chmod(f"{home}/.race", 0o644)
    os.rename(f"{home}/.race", name)
P
rm -f "$W/homes/alice/race.yaml"
put alice race <<<'command: [/bin/sh, -c, "echo last by $(id -u); exec sleep infinity"]'
check "after the race her last file runs" wait_for 20 grep -q "last by 2001" "$LOGS/race.log"
check "under that name nobody but she ever ran" fails grep -v "by 2001\$" "$LOGS/race.log"
check "bob's ran once, as bob's own" is 1 grep -c . "$LOGS/secret.log"

check "removing her files ends her vassals" sh -c "rm -rf '$W'/homes/alice/*"
for name in web open after after2 late race; do wait_gone $name; done
check "and nobody else's" is 2002:2002 owners job
check "the emperor ends with 0" stop_emperor
check "nothing is left" wait_for 5 is "" processes
