#!/bin/sh
# Prepares a bare machine (a container or VM where we are root) for the tests:
# the packages that a stock laptop has, the devices open for everybody, and a
# user with subordinate ids. It changes nothing that is there already, may run
# any number of times, and prints the user's name as the last line of stdout.
set -eu

user=sbxtest

say() { echo "prepare: $*" >&2; }

if [ "$(id -u)" != 0 ]; then
	say "only root can prepare the machine"
	exit 1
fi

# Commands that the tests start, with Debian's package for each.
packages=
need() { # need COMMAND PACKAGE
	command -v "$1" >/dev/null 2>&1 || packages="$packages $2"
}
need newuidmap uidmap
need strace strace
need bwrap bubblewrap
need zstd zstd
need xz xz-utils
need setfattr attr
need setpriv util-linux
need useradd passwd
if ! { busybox=$(command -v busybox) && ! ldd "$busybox" >/dev/null 2>&1; }; then
	packages="$packages busybox-static"
fi
if [ -n "$packages" ]; then
	if command -v apt-get >/dev/null 2>&1; then
		say "install$packages"
		{
			apt-get -qq update
			# shellcheck disable=SC2086 # a list of words
			DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $packages
		} >&2 </dev/null
	else
		say "no apt-get here: install these yourself:$packages"
		exit 1
	fi
fi

device() { # device PATH MAJOR MINOR
	mkdir -p "$(dirname "$1")"
	[ -c "$1" ] || mknod "$1" c "$2" "$3" || { say "cannot make $1: its tests will be skipped"; return 0; }
	[ "$(stat -c %a "$1")" = 666 ] || chmod 0666 "$1" || say "cannot open $1 for everybody"
}
device /dev/fuse 10 229
device /dev/net/tun 10 200

if ! id "$user" >/dev/null 2>&1; then
	say "make the user $user"
	useradd --create-home --home-dir "/home/$user" --shell /bin/sh --user-group "$user" >&2
fi
home=$(getent passwd "$user" | cut -d: -f6)
chmod 0700 "$home"

# A range of 65536 ids behind all that are given away.
range() { # range FILE OPTION
	touch "$1"
	grep -q "^$user:" "$1" && return
	first=$(awk -F: 'BEGIN { n = 100000 } NF == 3 && $2 + $3 > n { n = $2 + $3 } END { print n }' "$1")
	usermod "$2" "$first-$((first + 65535))" "$user"
}
range /etc/subuid --add-subuids
range /etc/subgid --add-subgids

# What a login session would have made.
uid=$(id -u "$user")
if [ ! -d "/run/user/$uid" ]; then
	mkdir -p /run/user
	mkdir -m 0700 "/run/user/$uid"
	chown "$user:" "/run/user/$uid"
fi

echo "$user"
