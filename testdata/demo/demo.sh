#!/bin/sh
# make demo: a real compilation in a sandbox over the host's own root, with
# what it proves. Fails if a single claim does not hold.
#
#   demo.sh SANDBOX
set -eu
sandbox=$(realpath "$1")
cd "$(dirname "$0")/../.."
cc=${CC:-gcc}
input="testdata sandbox"
begin=$(date +%s)

tmp=$(mktemp -d)
listener=
cleanup() {
	[ -z "$listener" ] || kill "$listener" 2>/dev/null || true
	rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

failures=0
claim() { # claim TEXT COMMAND...
	text=$1
	shift
	if "$@" >"$tmp/claim.log" 2>&1; then
		echo "  ok    $text"
	else
		echo "  FAIL  $text"
		tr -d '\000' <"$tmp/claim.log" | cut -c 1-160 | head -n 5 | sed 's/^/          /'
		failures=$((failures + 1))
	fi
}
# Everything of this folder that a stray write would change; bin is not input.
fingerprint() { find . -path ./.git -prune -o -path ./bin -prune -o -printf '%p %i %m %s %T@ %C@\n' | sort; }

# The other side: something to find in the environment, in /proc and on the network.
$cc -O1 -o "$tmp/probe" testdata/demo/probe.c
$cc -O2 -Wall -o "$tmp/census" testdata/demo/census.c
name="sandbox-demo-outside-$$"
DEMO_SECRET="secret-of-the-caller-$$"
export DEMO_SECRET
mkfifo "$tmp/port"
"$tmp/probe" listen "$name" >"$tmp/port" &
listener=$!
read -r port <"$tmp/port"
namespaces=$(for ns in user mnt pid net ipc uts cgroup; do readlink "/proc/self/ns/$ns"; done | tr '\n' ' ')
fingerprint >"$tmp/before"
printf 'testdata/demo/inside.sh\n' >"$tmp/pattern"

echo "Outside"
echo "        user $(id -un) ($(id -u):$(id -g)), $("$sandbox" version 2>/dev/null | head -n 1), kernel $(uname -r)"
claim "the listener on 127.0.0.1:$port answers here" "$tmp/probe" tcp "$port"
claim "the abstract socket answers here" "$tmp/probe" abstract "$name"

echo "\$ sandbox run -- sh testdata/demo/inside.sh $cc $port $input"
{
	code=0
	# shellcheck disable=SC2086 # two folders
	printf '%s\n%s\n%s\n' "$DEMO_SECRET" "$namespaces" "$name" |
		"$sandbox" run -- sh testdata/demo/inside.sh "$cc" "$port" $input || code=$?
	echo "$code" >"$tmp/code"
} | tee "$tmp/out" | grep -av --line-buffered '^RESULT ' || true

echo "Outside again"
claim "every claim inside held (exit code $(cat "$tmp/code"))" test "$(cat "$tmp/code")" = 0
# shellcheck disable=SC2086 # two folders
expected=$("$tmp/census" $input)
got=$(sed -n 's/^RESULT //p' "$tmp/out")
claim "the program inside and the same program here read the same" test "$got" = "$expected"
unchanged() { fingerprint | diff "$tmp/before" -; }
claim "no file here was made, changed or removed" unchanged
for file in "$HOME/sandbox-demo-file" /tmp/sandbox-demo-file /etc/sandbox-demo-file; do
	claim "there is no $file" test ! -e "$file"
done
# The pattern comes from a file: an argument would be found in /proc itself.
noProcess() { ! grep -laF -f "$tmp/pattern" /proc/[0-9]*/cmdline; }
claim "no process of the sandbox is left" noProcess
claim "the listener still answers" "$tmp/probe" tcp "$port"

echo
if [ "$failures" = 0 ]; then
	echo "All of it holds ($(($(date +%s) - begin)) s)."
else
	echo "$failures claims do not hold."
	exit 1
fi
