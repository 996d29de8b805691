#!/bin/sh
# The passes of "make test", which has built everything before:
#
#   unit     the compiled tests of every package, with -race
#   user     testdata/*.txtar with the static binary
#   race     the same with the binary that has the race detector
#   single   scripts with a single id and no newuidmap
#   root     scripts as root, and the unit tests that had to skip otherwise
#
# As root, all but the last run as a test user in a copy of this folder,
# because neither this clone nor the module cache need be readable for
# others; and every skip is an error. As an ordinary user, what can run
# runs here, and the last one does not.
set -eu
cd "$(dirname "$0")/.."

GO=${GO:-go}
module=$($GO list -m)
own=$(mktemp -d)
copy=
cleanup() {
	rm -rf "$own"
	[ -z "$copy" ] || rm -rf "$copy"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

failed=0
pass() { echo; echo "== $*"; }

# asTester runs a command of this folder as the user of the tests.
if [ "$(id -u)" = 0 ]; then
	STRICT=1
	pass "prepare the machine"
	user=$(sh testdata/prepare.sh | tail -n 1)
	uid=$(id -u "$user")
	home=$(getent passwd "$user" | cut -d: -f6)
	copy=$(mktemp -d "$home/work-XXXXXX")
	tar -cf - --exclude=./.git --exclude=./bin/bench . | tar -xf - -C "$copy" --no-same-owner
	chown -hR "$user:" "$copy"
	chmod -R u+rwX,go-w "$copy"
	path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
	asTester() {
		(cd "$copy" && exec setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups \
			--inh-caps=-all -- env -i HOME="$home" USER="$user" LOGNAME="$user" SHELL=/bin/sh \
			PATH="$path" XDG_RUNTIME_DIR="/run/user/$uid" N="${N:-1}" SOAK="${SOAK:-}" \
			TERM="${TERM:-dumb}" "$@")
	}
else
	copy=
	asTester() { env "$@"; }
fi
results=bin/test/results
there() { echo "${copy:-.}/$1"; }
rm -f "$(there $results)"*

pass "what this machine can do"
asTester bin/sandbox doctor || true # the tests decide; this is to read

pass "layering, documentation"
bin/testrun -label static -out "$own/static" -only "$module" -run '^Test(Layering|Docs|PackageInit)' bin/test/list || failed=1

pass "unit tests$([ -z "$copy" ] || echo " as $user")"
asTester bin/testrun -label unit -out $results.unit -not "$module" bin/test/list || failed=1
asTester bin/testrun -label user -out $results.user -only "$module" -run '^TestLeak' bin/test/list || failed=1

pass "scripts"
asTester env SANDBOX_TEST_PASS=user \
	bin/testrun -label user -out $results.user -only "$module" -run '^TestScripts$' bin/test/list || failed=1
pass "scripts with the race detector"
asTester env SANDBOX_TEST_PASS=race SANDBOX_BIN=bin/sandbox-race \
	bin/testrun -label race -out $results.race -only "$module" -run '^TestScripts$' bin/test/list || failed=1
pass "scripts with a single id"
asTester env SANDBOX_TEST_PASS=single SANDBOX_USERNS=single \
	bin/testrun -label single -out $results.single -only "$module" -run '^TestScripts$' bin/test/list || failed=1

if [ -n "$copy" ]; then
	pass "as root"
	bin/testrun -label unit -out "$own/again" -again "$(there $results).unit" bin/test/list || failed=1
	SANDBOX_TEST_PASS=root \
		bin/testrun -label root -out "$own/root" -only "$module" -run '^TestScripts$' bin/test/list || failed=1
fi

pass "all passes together"
set --
for file in "$own"/* "$(there $results)".*; do
	[ -e "$file" ] && set -- "$@" "$file"
done
[ -z "${STRICT:-}" ] || set -- -strict "$@"
bin/testrun -report "$@" || failed=1
exit $failed
