#!/bin/sh
# Runs inside the sandbox. Every line "ok" is a claim that was tried just now.
#
#   inside.sh CC PORT DIR...   stdin: a secret of the caller's environment, the
#                              caller's namespaces ("user:[1] mnt:[2] …") and
#                              the name of a process and socket outside
set -u

read -r secret
read -r outside
read -r name
cc=$1 port=$2
shift 2
failures=0

claim() { # claim TEXT COMMAND...
	text=$1
	shift
	if "$@" >/tmp/claim.log 2>&1; then
		echo "  ok    $text"
	else
		echo "  FAIL  $text"
		tr -d '\000' </tmp/claim.log | cut -c 1-160 | head -n 5 | sed 's/^/          /'
		failures=$((failures + 1))
	fi
}
refused() { ! "$@"; }
status() { awk -v key="$1:" '$1 == key { print $2 }' /proc/self/status; }

echo "Who we are inside"
echo "        user $(id -u):$(id -g), host name $(cat /proc/sys/kernel/hostname), pid $$, pid 1 is $(cat /proc/1/comm)"
for ns in user mnt pid net ipc uts cgroup; do
	inside=$(readlink "/proc/self/ns/$ns")
	case " $outside " in
	*" $inside "*) claim "$ns namespace of our own ($inside)" false ;;
	*) claim "$ns namespace of our own ($inside)" test -n "$inside" ;;
	esac
done
caps=$(status CapEff)
bounds=$(status CapBnd)
claim "capabilities $caps are the default set of a build or less" test $((0x$caps & ~0xa80425fb)) = 0
claim "none of the others can be gained (bounding set $bounds)" test $((0x$bounds & ~0xa80425fb)) = 0
claim "no inheritable and no ambient capability" test $((0x$(status CapInh) | 0x$(status CapAmb))) = 0
claim "no_new_privs is set" test "$(status NoNewPrivs)" = 1
claim "a seccomp filter is on" test "$(status Seccomp)" = 2

echo "What could not be touched"
for dir in "$PWD" /etc /usr /; do
	claim "no file can be made in $dir" refused touch "${dir%/}/sandbox-demo-file"
done
personal() { # a home with nothing of the real one but toolchains and this folder
	for entry in $(ls -A "$HOME"); do
		case "$entry" in
		.local | .cargo | .rustup | .nvm | .pyenv | .rbenv | .sdkman | go) continue ;;
		esac
		case "$PWD/" in
		"$HOME/$entry/"*) continue ;;
		esac
		echo "$HOME/$entry is visible"
		return 1
	done
}
claim "nothing personal in $HOME" personal
claim "$HOME is ours to write, and goes with us" touch "$HOME/sandbox-demo-file"
claim "/tmp is ours to write, and goes with us" touch /tmp/sandbox-demo-file
# Patterns come from files: an argument would be found in /proc itself.
printf '%s\n' "$secret" >/tmp/secret
printf '%s\n' "$name" >/tmp/name
grepSecret() { cat /proc/[0-9]*/environ 2>/dev/null | grep -aF -f /tmp/secret; }
claim "no variable of the caller in any process's environment" refused grepSecret
grepProcess() { cat /proc/[0-9]*/cmdline 2>/dev/null | grep -aF -f /tmp/name; }
claim "no process of the host is visible ($(ls -d /proc/[0-9]* | wc -l) of ours are)" refused grepProcess
claim "no file system can be mounted" refused mount -t tmpfs tmpfs /tmp
claim "no further user namespace can be made" refused unshare --user true
interfaces() { test "$(awk -F: 'NR > 2 { gsub(/ /, "", $1); print $1 }' /proc/net/dev)" = lo; }
claim "the only network interface is lo" interfaces

echo "Real work, with the host's own toolchain"
claim "$cc compiles the probe" "$cc" -O1 -o /tmp/probe testdata/demo/probe.c
claim "a listener on the host's 127.0.0.1:$port is out of reach" refused /tmp/probe tcp "$port"
claim "the host's abstract sockets are out of reach" refused /tmp/probe abstract "$name"
claim "$cc compiles census.c" "$cc" -O2 -Wall -o /tmp/census testdata/demo/census.c
counted=$(/tmp/census "$@")
claim "it reads the sources of this project: $counted" test -n "$counted"
if command -v go >/dev/null 2>&1; then
	compileGo() {
		cp -r testdata/demo/census /tmp/census-go && cd /tmp/census-go &&
			GOFLAGS=-mod=mod GOPROXY=off GOTOOLCHAIN=local GOCACHE=/tmp/go-cache GOPATH=/tmp/go \
				CGO_ENABLED=0 go build -o census census.go
	}
	# In a subshell: it changes the folder.
	claim "$(go version | cut -d' ' -f3) compiles census.go" eval '(compileGo)'
	agreed() { test "$(/tmp/census-go/census "$@")" = "$counted"; }
	claim "and both programs agree" agreed "$@"
else
	echo "        (no go in here: the Go program is left out)"
fi
echo "RESULT $counted"
exit "$failures"
