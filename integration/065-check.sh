# `check` names everything that is wrong before anything runs, and `schema` says what would be right.
#
#   files ---> check ---> file:line:column, the line, what is meant       nothing runs, nothing is changed

. "$(dirname "$0")/lib.sh"

D=$W/judged
mkdir "$D"
code() { local code=0; "$@" >"$W/out" 2>"$W/err" || code=$?; echo $code; }
judged() { is "$1" code "$EMPEROR" check --config "$SETTINGS" "${@:2}"; }
# named PLACE TEXT HELP: in the report, one complaint with this place, text and suggestion.
named() {
  "$PYTHON" - "$W/err" "$@" <<'P' || { cat "$W/err"; return 1; }
import sys
report, place, text, wish = open(sys.argv[1]).read(), *sys.argv[2:]
blocks = report.split("\n\n")
sys.exit(not any(text in b.split("\n")[0] and f"/{place}\n" in b + "\n" and wish in b for b in blocks))
P
}

cat >"$D/many.yaml" <<'Y'
comand: [/bin/sh]
command: [/bin/true]
command: [/bin/true]
user: nobody-of-that-name
restart: {delay: [1s]}
network:
  address: 10.108.0.2
  firewall:
    in:
      - "allow 10.0.0.0/33"
      - "allow any any tpc 80"
Y
printf 'command: [/nowhere/program]\nnetwork: {address: 10.107.0.1}\n' >"$D/gateway.yaml"
printf 'command: [/bin/sh]\nnetwork: {address: 10.107.0.7}\n' >"$D/twice1.yaml"
cp "$D/twice1.yaml" "$D/twice2.yaml"
# Wrong in itself too, and the first by name: it claims nothing that a good file has, and hears of it at once.
printf 'comand: [/bin/sh]\nnetwork: {address: 10.107.0.7}\n' >"$D/a-third.yaml"
check "a directory with mistakes ends with 1" judged 1 "$D"
check "an unknown key" named many.yaml:1:1 "unknown key \`comand\`" "did you mean \`command\`?"
check "a duplicate key" named many.yaml:3:1 "\`command\` is written twice" "line 2"
check "an unknown user" named many.yaml:4:7 nobody-of-that-name "create it"
check "a wrong type" named many.yaml:5:18 "\`restart.delay\` is a list" "500ms"
check "an address outside of the subnet" named many.yaml:7:12 "outside of the router's subnet" "such as 10.107.0."
check "a bad prefix" named many.yaml:10:16 "no prefix length" "from 0 to 32"
check "a bad rule, at the wrong word" named many.yaml:11:24 "\`tpc\` is no protocol" "did you mean \`tcp\`?"
check "the gateway's address" named gateway.yaml:2:20 "the gateway's own address" "choose another"
check "a program that is missing is a warning" named gateway.yaml:1:11 "warning: " "cannot start before it exists"
check "an address that is claimed twice, with both files" named twice2.yaml:2:20 "twice1.yaml" "another address"
check "and by a file that is wrong in itself" named a-third.yaml:2:20 "twice1.yaml" "another address"
check "each is shown with its line" grep -q '^11 |       - "allow any any tpc 80"$' "$W/err"
check "the word is underlined" grep -qE '^   \| {24}\^\^\^$' "$W/err"
# With the settings, six.
check "the count is the last word" grep -qE '^6 files, 12 errors, 1 warning$' "$W/err"
check "standard output stays empty" is "" cat "$W/out"
check "the same for programs" judged 1 --format json "$D"
check "has every place" is "13 many.yaml:11:24" \
  jq -r '[(.problems | length), (.problems[] | select(.message | test("tpc")) | "\(.path | split("/")[-1]):\(.line):\(.column)")] | join(" ")' "$W/out"

check "one good file ends with 0" judged 0 "$D/twice1.yaml"
printf 'command: [/nowhere/program]\n' >"$D/warned.yaml"
check "a warning alone ends with 0" judged 0 "$D/warned.yaml"
check "a file that is not there ends with 1" judged 1 "$D/nothing.yaml"
check "an unknown option ends with 2" judged 2 --colour "$D"
echo 'rooter: {}' >"$W/wrong.yaml"
check "wrong settings end with 1" is 1 code "$EMPEROR" check --config "$W/wrong.yaml" "$W/wrong.yaml"
check "with their place" named wrong.yaml:1:1 "unknown key" "\`router\`"
rm "$D/many.yaml"
{ cat "$SETTINGS"; echo "vassals: [$D]"; } >"$W/own.yaml"
check "without a target, what the settings name is judged" is 1 code "$EMPEROR" check --config "$W/own.yaml"
check "all of it" grep -qE '^6 files, 5 errors, 2 warnings$' "$W/err"

check "the schema of a vassal is JSON Schema" is object sh -c "'$EMPEROR' schema | jq -r '.properties.network.type'"
check "the schema of the settings too" is object sh -c "'$EMPEROR' schema settings | jq -r '.properties.router.type'"
check "nothing was made" fails test -e "$RUN"
