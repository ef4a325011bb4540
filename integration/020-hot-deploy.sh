# timeout: 180
# The directory is the command line: what is dropped runs, what is edited changes, what is removed is gone,
# in all the ways in which editors and deployment tools write files.
#
#   vassals/  new.yaml  edit.yaml  remove.yaml  …      the emperor watches, and here nothing else talks to it

. "$(dirname "$0")/lib.sh"

fds() { find "/proc/$EMPEROR_PID/fd" -mindepth 1 | wc -l; }
tuns() { find "/proc/$EMPEROR_PID/fd" -mindepth 1 -lname /dev/net/tun | wc -l; }
# serve TEXT [ADDRESS]: the definition of a service.
serve() {
  echo "command: [mini-emperor, demo, serve, --port, \"8080\", --text, \"$1\"]"
  [ -z "${2:-}" ] || echo "network: {address: $2}"
}
answers() { wait_for 10 says "$2" fetch "http://$1:8080/"; }
in_namespace() { # whether any process is in network namespace $1
  local p
  for p in /proc/[0-9]*; do
    [ "$(stat -Lc %i "$p/ns/net" 2>/dev/null)" != "$1" ] || { echo "$p is in it"; return 0; }
  done
  return 1
}

start_emperor

# ---- new, edited, removed
serve one 10.107.0.2 | drop_vassal web
check "a dropped file runs" wait_running web
check "it answers" answers 10.107.0.2 "one from"
old=$(vassal_pid web)
serve two 10.107.0.2 | drop_vassal web
check "an edited command is started anew" wait_running web "$old"
check "the new one answers" answers 10.107.0.2 "two from"
old=$(vassal_pid web)
serve two 10.107.0.3 | drop_vassal web
check "an edited address is taken" answers 10.107.0.3 "two from"
check "the old address is nobody's" fails fetch -m 2 http://10.107.0.2:8080/
old=$(vassal_pid web)
{ serve two; printf 'network:\n  address: 10.107.0.3\n  firewall: {in: ["deny any any tcp 8080"]}\n'; } | drop_vassal web
check "an edited firewall takes effect" wait_for 10 fails fetch -m 1 http://10.107.0.3:8080/
check "without a new process" same_pid web "$old"
serve two 10.107.0.3 | drop_vassal web
check "and back" answers 10.107.0.3 "two from"
check "still the same process" same_pid web "$old"

# ---- removed: a child that has left its session and its parent must not survive
settled
# The tuns of those that ended are closed by a thread, and so is what they wrote into.
at_rest() { is 2 tuns && is "" find "/proc/$EMPEROR_PID/fd" -lname '*settle*'; }
wait_for 10 at_rest # web and the uplink
before_fds=$(fds) before_tuns=$(tuns)
drop_vassal tree <<'Y'
command: [/bin/sh, -c, "(setsid sleep 98765 &) ; exec sleep 98764"]
network: {address: 10.107.0.4}
Y
wait_running tree
check "the child that will detach runs" wait_for 5 pgrep -f "sleep 98765"
namespace=$(vassal_field tree .netns)
check "its namespace is in use" in_namespace "$namespace"
rm "$VASSALS/tree.yaml"
check "a removed vassal loses its state" wait_gone tree
check "its whole tree ends" wait_for 5 fails pgrep -f "sleep 9876[45]"
check "nothing is in its namespace" wait_for 5 fails in_namespace "$namespace"
check "the router closes its tun" wait_for 5 is "$before_tuns" tuns
check "the emperor keeps no descriptor of it" wait_for 5 is "$before_fds" fds
check "nobody has its address" fails ping -q -c 1 -W 1 10.107.0.4

# ---- ways to write a file
old=$(vassal_pid web)
touch "$VASSALS/web.yaml"
settled
check "touch changes nothing" same_pid web "$old"
cp "$VASSALS/web.yaml" "$W/copy" && cat "$W/copy" >"$VASSALS/web.yaml"
settled
check "rewriting the same content changes nothing" same_pid web "$old"
{ echo "# a comment"; cat "$W/copy"; } | drop_vassal web
settled
check "a comment changes nothing" same_pid web "$old"

serve half 10.107.0.20 >"$VASSALS/.half" && head -c 30 "$VASSALS/.half" >"$W/piece1" && tail -c +31 "$VASSALS/.half" >"$W/piece2"
mark
exec 9>"$VASSALS/half.yaml"
cat "$W/piece1" >&9
settled
check "a file that is still being written does not run" gone half
check "and is not complained about" unlogged "half.yaml"
cat "$W/piece2" >&9
exec 9>&-
check "it runs once it is closed" wait_running half

# As vim does: the old file becomes the backup, a new file is created, the backup is removed.
old=$(vassal_pid half)
mv "$VASSALS/half.yaml" "$VASSALS/half.yaml~"
serve vim 10.107.0.20 >"$VASSALS/half.yaml"
rm "$VASSALS/half.yaml~"
check "an editor's way of saving changes the vassal" wait_running half "$old"
check "to what was saved" answers 10.107.0.20 "vim from"

mark
for name in .hidden.yaml backup.yaml.bak swap.yaml.swp .swap.yaml.swp tilde.yaml~ '#auto.yaml#' note.txt yaml; do
  echo "not: {a: definition" >"$VASSALS/$name"
done
settled
check "other files are ignored without a word" unlogged "error:"
find "$VASSALS" -type f \( -name '*.bak' -o -name '*.swp' -o -name '*~' -o -name '#*' -o -name '.*' -o -name '*.txt' \
  -o -name yaml \) -delete

# ---- links
mkdir -p "$W/elsewhere"
serve linked 10.107.0.21 >"$W/elsewhere/a.yaml"
ln -s "$W/elsewhere/a.yaml" "$VASSALS/link.yaml"
check "a symbolic link runs" wait_running link
old=$(vassal_pid link)
serve relinked 10.107.0.21 >"$W/elsewhere/b.yaml"
ln -s "$W/elsewhere/b.yaml" "$VASSALS/.link.tmp" && mv -T "$VASSALS/.link.tmp" "$VASSALS/link.yaml"
check "a link that is replaced changes the vassal" wait_running link "$old"

# As Kubernetes mounts a ConfigMap: the visible files lead through "..data", which is swapped whole.
mkdir "$VASSALS/..1" "$VASSALS/..2"
serve first 10.107.0.22 >"$VASSALS/..1/map.yaml"
serve second 10.107.0.22 >"$VASSALS/..2/map.yaml"
ln -s ..1 "$VASSALS/..data"
ln -s ..data/map.yaml "$VASSALS/map.yaml"
check "a file behind a linked directory runs" wait_running map
old=$(vassal_pid map)
ln -s ..2 "$VASSALS/..data_tmp" && mv -T "$VASSALS/..data_tmp" "$VASSALS/..data"
check "swapping the directory changes the vassal" wait_running map "$old"
rm -r "$VASSALS/map.yaml" "$VASSALS"/..*[12a]
check "removing it removes the vassal" wait_gone map
# As deployment tools release: a link in the middle of the way is swapped.
mkdir "$W/release1" "$W/release2"
serve older 10.107.0.22 >"$W/release1/app.yaml"
serve newer 10.107.0.22 >"$W/release2/app.yaml"
swap() { ln -s "$1" "$2.new" && mv -T "$2.new" "$2"; }
ln -s "$W/current/app.yaml" "$VASSALS/app.yaml"
settled
check "a link to what does not exist yet is no vassal" gone app
swap release1 "$W/current"
check "it runs when it exists" wait_running app
old=$(vassal_pid app)
swap release2 "$W/current"
check "another release changes the vassal" wait_running app "$old"
check "to what it says" answers 10.107.0.22 "newer from"
old=$(vassal_pid app)
serve edited 10.107.0.22 >"$W/release2/app.yaml"
check "so does an edit of the file at the end" wait_running app "$old"
rm "$VASSALS/app.yaml"
check "removing the link removes the vassal" wait_gone app

mv "$VASSALS/half.yaml" "$W/half.yaml"
check "a file that is moved out is removed" wait_gone half
mv "$W/half.yaml" "$VASSALS/half.yaml"
check "a file that is moved in runs" wait_running half

# ---- more events than the kernel keeps: what happened meanwhile must be found by looking
limit=$(cat /proc/sys/fs/inotify/max_queued_events)
if [ "$limit" -gt 200000 ]; then
  skip "a lost event is made good" "the kernel keeps $limit events; filling that takes too long"
else
  kill -STOP "$EMPEROR_PID"
  "$PYTHON" - "$VASSALS" "$((limit + 1000))" <<'P'
import os, sys
for n in range(int(sys.argv[2])):
    path = f"{sys.argv[1]}/.n{n}"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    os.unlink(path)
P
  serve late 10.107.0.23 | drop_vassal late
  rm "$VASSALS/link.yaml"
  kill -CONT "$EMPEROR_PID"
  check "a file whose event was lost runs" wait_running late
  check "a removal whose event was lost is seen" wait_gone link
fi

# ---- many at once
settled
before_fds=$(fds) web=$(vassal_pid web)
"$PYTHON" - "$VASSALS" <<'P'
import sys
for n in range(500):
    with open(f"{sys.argv[1]}/many{n}.yaml", "w") as file:
        file.write("{command: [/bin/sleep, infinity], network: {address: 'fd00:107::1:%x'}}\n" % n)
P
many() { cat "$RUN"/state/many*.json 2>/dev/null | jq -n "[inputs | select(.pid)] | length"; }
begun=$(now_ms)
check "500 files at once run" wait_for 60 is 500 many
note "500 vassals ran after $(($(now_ms) - begun)) ms"
check "the last of them is reachable" ping -q -c 1 -W 2 "fd00:107::1:1f3"
check "web was not disturbed" same_pid web "$web"
begun=$(now_ms)
find "$VASSALS" -name 'many*' -delete
check "500 removals at once" wait_for 60 is 0 many
note "they were gone after $(($(now_ms) - begun)) ms"
no_more_fds() { test "$(fds)" -le "$before_fds" || { echo "$(fds), before $before_fds"; return 1; }; }
check "the emperor keeps no descriptor of them" wait_for 10 no_more_fds
check "the emperor ends with 0" stop_emperor

# ---- the directory itself is swapped, and there are two; only the settings name them
rm "$VASSALS"/*.yaml
mkdir "$W/set1" "$W/set2" "$W/more"
serve one 10.107.0.2 >"$W/set1/one.yaml"
serve two 10.107.0.3 >"$W/set2/two.yaml"
serve more 10.107.0.4 >"$W/more/more.yaml"
swap set1 "$W/set"
echo "vassals: [$W/set, more]" >>"$SETTINGS"
: >"$LOG"
mark
"$EMPEROR" run --config "$SETTINGS" </dev/null >/dev/null 2>>"$LOG" &
EMPEROR_PID=$!
check "a directory behind a link runs" wait_running one
check "a second directory runs, beside the settings file" wait_running more
swap set2 "$W/set"
check "what is in another directory under that link runs" wait_running two
check "what was in the one before is gone" wait_gone one
mkdir "$W/more.new"
serve other 10.107.0.5 >"$W/more.new/other.yaml"
mv "$W/more" "$W/more.old" && mv "$W/more.new" "$W/more"
check "a directory that takes another's place is read" wait_running other
check "and the one before is not" wait_gone more
serve late 10.107.0.6 >"$W/more/late.yaml"
check "and is watched from then on" wait_running late
mkdir "$W/more/directory.yaml"
settle=$(vassal_pid late)
rm "$W/more/other.yaml"
wait_gone other
check "a directory in it is no definition" unlogged directory.yaml
check "nobody else was disturbed" same_pid late "$settle"
check "the emperor ends with 0" stop_emperor
