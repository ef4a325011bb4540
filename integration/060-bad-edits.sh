# A mistake in a file is named with its place, and changes nothing that runs.
#
#   vassals/  web.yaml (good, then wrong, then good)   second.yaml (claims web's address)   …

. "$(dirname "$0")/lib.sh"

good() { printf 'command: [mini-emperor, demo, serve, --port, "8080", --text, "%s"]\nnetwork: {address: 10.107.0.2}\n' "$1"; }
# refused FILE:LINE:COLUMN TEXT…: since the mark, that place was complained about with these words.
refused() {
  local place=$1
  shift
  logged "$VASSALS/$place: error:" "$@"
}

good one | drop_vassal web
start_emperor
wait_running web
pid=$(vassal_pid web)

mark
{ good two; echo 'netwrok: {mtu: 1400}'; } | drop_vassal web
check "an unknown key is named with its place" wait_for 10 refused web.yaml:3:1 netwrok
check "and what was probably meant" refused web.yaml:3:1 network
check "the old vassal runs on" same_pid web "$pid"
check "as it was" wait_for 5 says "one from" fetch http://10.107.0.2:8080/

mark
printf 'command: [/bin/true\n' | drop_vassal web
check "broken YAML is named with its line" wait_for 10 logged "$VASSALS/web.yaml:" "error:"
check "the old vassal runs on" same_pid web "$pid"

mark
printf 'command: /bin/sleep 5\nnetwork:\n  address: 10.108.0.2\n  firewall:\n    in:\n      - allow any any tpc 80\n' | drop_vassal web
check "every problem of a file is reported: the command" wait_for 10 refused web.yaml:1:10
check "the address" wait_for 2 refused web.yaml:3:12 10.108.0.2
check "the rule, at the wrong word" wait_for 2 refused web.yaml:6:23 tpc
check "the old vassal runs on" same_pid web "$pid"

: | drop_vassal web
mark
: | drop_vassal web
settled
check "an emptied file stops nothing" same_pid web "$pid"

mark
printf 'command: \000\377\n' | drop_vassal web
check "a file that is no text is refused" wait_for 10 logged "$VASSALS/web.yaml" "error:"
check "the old vassal runs on" same_pid web "$pid"

mark
good one | drop_vassal web
settled
check "the original content back: nothing happens" same_pid web "$pid"
check "without complaint" unlogged "error:"
good three | drop_vassal web
check "a good edit after the bad ones applies" wait_running web "$pid"
check "with what it says" wait_for 10 says "three from" fetch http://10.107.0.2:8080/

# ---- a new file that is wrong
mark
echo 'command: []' | drop_vassal fresh
check "a new file that is wrong is refused" wait_for 10 refused fresh.yaml:1:10
check "and does not run" gone fresh
mark
echo 'command: [/bin/sleep, infinity]' | drop_vassal 'bad name'
check "a name that cannot be a vassal's is refused" wait_for 10 logged "bad name.yaml" "error:"
rm "$VASSALS/bad name.yaml" "$VASSALS/fresh.yaml"

# ---- two that claim one address
pid=$(vassal_pid web)
mark
printf 'command: [/bin/sleep, infinity]\nnetwork: {address: 10.107.0.2}\n' | drop_vassal second
check "the second claim of an address is refused" wait_for 10 logged second.yaml "error:" 10.107.0.2
check "naming both files" logged second.yaml web.yaml
check "the first keeps running" same_pid web "$pid"
check "the second does not run" gone second
printf 'command: [/bin/sleep, infinity]\nnetwork: {address: 10.107.0.5}\n' | drop_vassal second
check "with an address of its own it runs" wait_running second
printf 'command: [/bin/sleep, infinity]\nnetwork: {address: 10.107.0.5}\n' | drop_vassal third
settled
check "a third that wants that address waits" gone third
rm "$VASSALS/second.yaml"
check "and gets it when it is free" wait_running third
mark
good four >"$VASSALS/web.yml"
check "a second file of the same name is refused" wait_for 10 logged web.yml "error:" web.yaml
rm "$VASSALS/web.yml"
settled
check "removing it leaves the first alone" same_pid web "$pid"

# ---- right by the rules, but not to be run
mark
echo 'command: [/nowhere/program]' | drop_vassal absent
check "a program that is not there fails" wait_for 10 logged "vassal failed" "name=absent"
check "with the program's name and the reason" logged absent /nowhere/program "No such file"
echo 'command: [/bin/sleep, infinity]' | drop_vassal absent
check "its correction runs" wait_running absent

mark
{ good five; echo 'broken: ['; } | drop_vassal web
wait_for 10 logged "$VASSALS/web.yaml:" "error:"
rm "$VASSALS/web.yaml"
check "removing a file whose last edit was wrong stops its vassal" wait_gone web
check "the emperor ends with 0" stop_emperor

# ---- settings
echo 'router: {adress: 10.107.0.1/24}' >"$SETTINGS"
check "wrong settings: it does not start" fails timeout 10 "$EMPEROR" run "$VASSALS" --config "$SETTINGS"
check "it names the place" says "emperor.yaml:1:10" sh -c \
  "timeout 10 '$EMPEROR' run '$VASSALS' --config '$SETTINGS' 2>&1 || true"
