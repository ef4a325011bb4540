# Where output goes: files that rotate, a terminal with prefixes, JSON; and what needs no settings at all.
#
#   vassal --stdout, stderr--> emperor --+--> /var/log/mini-emperor/NAME.log[.1 .2 …]
#                                        +--> its own standard error:  NAME | text

. "$(dirname "$0")/lib.sh"

# ---- no settings: the built-in defaults
drop_vassal plain <<'Y'
command: [mini-emperor, demo, serve, --port, "8080"]
Y
: >"$LOG"
mark
"$EMPEROR" run "$VASSALS" </dev/null >/dev/null 2>>"$LOG" &
EMPEROR_PID=$!
check "it starts without a settings file" wait_for 15 logged "emperor ready"
check "a vassal runs by the defaults" wait_running plain
address=$(vassal_field plain '.addresses[0]')
check "with an address of the default subnet" says 10.107.0. echo "$address"
check "that answers" wait_for 5 says "uid 65534" fetch "http://${address%/*}:8080/"
check "its output is in its file" wait_for 5 grep -q "serves on port 8080 as uid 65534" "$LOGS/plain.log"
check "others cannot write that file" is "" find "$LOGS/plain.log" -perm /022
drop_vassal second <<<'command: [mini-emperor, demo, serve, --port, "8080"]'
wait_running second
check "a second vassal has another address" fails is "$address" vassal_field second '.addresses[0]'
check "the emperor ends with 0" stop_emperor
mark
"$EMPEROR" run "$VASSALS" </dev/null >/dev/null 2>>"$LOG" &
EMPEROR_PID=$!
wait_for 15 logged "emperor ready"
wait_running plain
check "after a restart it has the same address" is "$address" vassal_field plain '.addresses[0]'
stop_emperor
rm "$VASSALS"/*.yaml

# In a subnet with five addresses the names' favourites collide, so that who came first matters.
mv "$SETTINGS" "$SETTINGS.usual"
echo '{router: {address: 10.9.0.1/29}, defaults: {stop: {signal: KILL}}}' >"$SETTINGS"
addresses() { for name in "$@"; do vassal_field "$name" '.addresses[0]'; done | xargs; }
start_emperor
for name in z y x w; do
  drop_vassal $name <<<'{command: [/bin/sleep, infinity]}'
  wait_running $name
done
before=$(addresses w x y z)
stop_emperor
start_emperor
for name in w x y z; do wait_running $name; done
check "automatic addresses do not depend on the order of the births" is "$before" addresses w x y z
drop_vassal v <<<'{command: [/bin/sleep, infinity]}'
check "the last free one is given" wait_running v
mark
drop_vassal u <<<'{command: [/bin/sleep, infinity]}'
check "when there is none, that is said" wait_for 10 logged "u.yaml: error:" "10.9.0.0/29"
rm "$VASSALS/w.yaml"
wait_gone w
check "and the next that is freed is given" wait_running u
stop_emperor
mv "$SETTINGS.usual" "$SETTINGS"
rm "$VASSALS"/*.yaml

# ---- text
start_emperor
drop_vassal loud <<'Y'
command: [/bin/sh, -c, 'printf "one\ntwo\033[2J\r\007three\n"; printf "to stderr\n" >&2; printf unfinished']
log: {to: inherit}
restart: {policy: never}
Y
check "a line stands behind its vassal's name" wait_for 5 logged "loud" "| one"
check "standard error too" wait_for 5 logged "loud" "| to stderr"
check "a last line without an end is not lost" wait_for 5 logged "loud" "| unfinished"
check "control bytes are shown, not obeyed" wait_for 5 logged "loud" "| two" "three"
check "no escape sequence gets through" fails grep -q -e $'\033' -e $'\007' "$LOG"

drop_vassal silent <<'Y'
command: [/bin/sh, -c, 'echo nothing of this; head -c 200000 /dev/zero; exec sleep infinity']
log: {to: none}
Y
# That it has come so far means that more than its pipe holds was taken.
wait_for 10 executes silent sleep
check "log none goes nowhere" unlogged "nothing of this"
check "not even to a file" fails test -e "$LOGS/silent.log"

# ---- long lines, many lines, rotation
drop_vassal chatty <<'Y'
command: [/bin/sh, -c, 'i=0; while [ $i -lt 3000 ]; do echo "line $i 0123456789012345678901234567890123456789"; i=$((i+1)); done; exec sleep infinity']
log: {to: file, max_size: 32KiB, keep: 2}
Y
check "the last line arrives" wait_for 20 grep -q "^line 2999 " "$LOGS/chatty.log"
rotated() { find "$LOGS" -name 'chatty.log?*' | wc -l; }
check "as many old files are kept as it says" is 2 rotated
check "no file is much larger than it says" is "" find "$LOGS" -name 'chatty.log*' -size +40k
newest() { cat $(find "$LOGS" -name 'chatty.log*' | sort -r); }
check "no line is lost or torn where files meet" "$PYTHON" - <(newest) <<'P'
import re, sys
numbers = []
for line in open(sys.argv[1]):
    found = re.fullmatch(r"(?:\S+ )?line (\d+) (?:0123456789){4}\n", line)
    assert found, f"torn: {line!r}"
    numbers.append(int(found[1]))
assert numbers == list(range(numbers[0], 3000)), "not in order, or not all"
P
drop_vassal endless <<'Y'
command: [/bin/sh, -c, 'head -c 3000000 /dev/zero | tr "\0" x; echo; echo after; exec sleep infinity']
log: {to: file, max_size: 10MiB}
Y
check "a line of 3 MB does not stop the next" wait_for 20 grep -q "^after\$\| after\$" "$LOGS/endless.log"
drop_vassal flood <<'Y'
command: [/bin/sh, -c, 'exec yes flooding']
log: {to: file, max_size: 1MiB, keep: 1}
Y
wait_running flood
check "a flood of output delays nobody" settled
rm "$VASSALS/flood.yaml"
check "and ends with its vassal" wait_gone flood
check "the emperor ends with 0" stop_emperor
rm "$VASSALS"/*.yaml

# ---- JSON
drop_vassal loud <<'Y'
command: [/bin/sh, -c, 'printf "say \"hello\"\033[2J\n"; exec sleep infinity']
log: {to: inherit}
Y
: >"$LOG"
start_emperor --log-format json
wait_running loud
check "the vassal's line is there" wait_for 5 logged 'say' 'hello'
check "the emperor ends with 0" stop_emperor
check "every line is one JSON object" sh -c "jq -es 'length > 0 and all(type == \"object\")' '$LOG'"
check "messages have their words" sh -c "jq -es 'any(tostring | contains(\"emperor ready\"))' '$LOG'"
check "with the vassal's name as a field" sh -c \
  "jq -es 'any((tostring | contains(\"vassal running\")) and ([.. | objects | .name?] | any(. == \"loud\")))' '$LOG'"

# ---- the example
cp -r "$(dirname "$0")/../vassals.example" "$W/example"
: >"$LOG"
mark
"$EMPEROR" run "$W/example" </dev/null >/dev/null 2>>"$LOG" &
EMPEROR_PID=$!
check "the example starts" wait_for 15 logged "emperor ready"
check "the visitor reaches hello" wait_for 15 logged "visitor " "http://10.107.0.10:8080/" "200 OK: hello, world"
check "the visitor reaches private" wait_for 15 logged "visitor " "http://10.107.0.20:8080/" "200 OK: private matters"
check "the stranger reaches hello" wait_for 15 logged "stranger " "http://10.107.0.10:8080/" "200 OK"
check "the stranger is turned away by private" wait_for 15 logged "stranger " "http://10.107.0.20:8080/" "rejected by a firewall"
check "nobody lives at the third address" wait_for 15 logged "visitor " "http://10.107.0.99:8080/" "nobody has that address"
check "the clock tells time as another user" wait_for 15 logged "clock " "in clock-tower, and I am daemon"
check "the host reaches private" says "private matters" fetch http://10.107.0.20:8080/
check "nothing in it is wrong" fails logged "error:"
check "the emperor ends with 0" stop_emperor
