// Package seccomp turns system call profiles in docker's JSON format into
// classic BPF programs for seccomp(2), and holds the compiled default filter.
//
// Start with [Default] for the ready-made filters and with [Compile] for the
// profile a user brings; [DefaultFor] serves capability sets that have no
// ready-made filter. Every function returns the bytes of an array of struct
// sock_filter, 8 bytes each, little-endian, at most 4096 of them: what
// SECCOMP_SET_MODE_FILTER takes. Nothing here installs a filter, and loading
// the package costs nothing.
//
// # What the default profile does
//
// It is moby's default profile with these differences (internal/gen makes it,
// zz_default.json shows it):
//
//   - io_uring, bpf, the key calls, userfaultfd and perf_event_open are EPERM
//     whatever the capabilities are.
//   - unshare, setns, clone with namespace flags and the mount API are EPERM
//     unless CAP_SYS_ADMIN was added, and CLONE_NEWUSER even then. The nesting
//     profile allows them, with pivot_root, chroot and sethostname.
//   - clone3 is ENOSYS, since a filter cannot see its flags; so is every number
//     without a name and every number newer than the newest one the profile
//     names. Libraries take ENOSYS as "use the older call"; EPERM would be
//     final.
//   - ioctl TIOCSTI and TIOCLINUX are EPERM. Only the low 32 bits are compared,
//     as the kernel itself ignores the others.
//   - socket and socketpair know AF_UNIX, AF_INET, AF_INET6 and NETLINK_ROUTE.
//     Others are EAFNOSUPPORT, what a kernel without them says: useradd, sshd
//     and sudo then go on without NETLINK_AUDIT, where EPERM makes them give up.
//   - i386's socketcall cannot be filtered by family, its arguments lie in
//     memory: see "Multiplexed calls".
//
// # How rules are read
//
// Where several rules match one call, the strictest action decides (kill
// process, kill thread, trap, errno, log, allow; among errnos the first in the
// file), as in the kernel when several filters are installed. libseccomp picks
// one of the rules that match, and silently drops rules with arguments when
// the same call also has one without; so a profile is never weaker here than
// under docker. As in runc, when two arguments of a rule have the same index,
// each argument becomes a rule of its own. MASKED_EQ ignores bits of valueTwo
// outside of the mask. Arguments are compared as the 64 bits that the kernel
// shows, in every ABI; in 32-bit ABIs it zero-extends them, so that -1 is
// 4294967295.
//
// Names that no ABI has are ignored, and so are unknown architectures in
// conditions. Calls from an ABI that the profile does not list kill the
// process. Unless the default action is allow or log, numbers that nobody
// knows are ENOSYS, as in runc. One field is ours: "elseErrnoRet": N in a
// rule is the errno of its calls where no rule matches, in place of the
// default action.
//
// # Multiplexed calls
//
// On i386, socketcall and ipc do what some twenty calls do. Each of their
// sub-calls gets the action of the direct call, where the profile names it;
// if that depends on arguments and may be a refusal, the sub-call is ENOSYS,
// so that the direct call is the only way. With the default profile a 32-bit
// program must create its sockets by socket(2) (Linux 4.3): musl and libcs
// built for such kernels do; Debian's i386 glibc and Go's 386 port do not, and
// get "function not implemented" for new sockets. Letting them would open
// every family to any 64-bit program as well, through int 0x80.
package seccomp

import (
	_ "embed"
	"fmt"
	"runtime"
	"slices"
)

//go:generate go run ./gen tables
//go:generate go run ./gen filters

// Variant names one of the compiled default filters.
type Variant uint8

const (
	// ForCaps is for processes with at most the capabilities of DefaultCaps.
	ForCaps Variant = iota
	// ForNoCaps is for processes without any capability.
	ForNoCaps
	// ForNesting permits user namespaces, the namespaces below them, and
	// mounts in these; it fits every capability set.
	ForNesting
)

// String returns the name the variant has in file names and messages.
func (v Variant) String() string {
	switch v {
	case ForCaps:
		return "caps"
	case ForNoCaps:
		return "nocaps"
	case ForNesting:
		return "nesting"
	}
	return fmt.Sprintf("Variant(%d)", uint8(v))
}

//go:embed zz_amd64_caps.bin
var filterAMD64Caps string

//go:embed zz_amd64_nocaps.bin
var filterAMD64NoCaps string

//go:embed zz_amd64_nesting.bin
var filterAMD64Nesting string

//go:embed zz_arm64_caps.bin
var filterARM64Caps string

//go:embed zz_arm64_nocaps.bin
var filterARM64NoCaps string

//go:embed zz_arm64_nesting.bin
var filterARM64Nesting string

//go:embed zz_default.json
var profileDefault string

//go:embed zz_nesting.json
var profileNesting string

// Default returns the compiled default filter of an architecture, by its GOARCH
// name, "amd64" or "arm64". It covers the 32-bit ABIs of that architecture. The
// caller owns the bytes.
func Default(arch string, v Variant) ([]byte, error) {
	var filter string
	switch arch {
	case "amd64":
		filter = [...]string{filterAMD64Caps, filterAMD64NoCaps, filterAMD64Nesting}[min(v, ForNesting)]
	case "arm64":
		filter = [...]string{filterARM64Caps, filterARM64NoCaps, filterARM64Nesting}[min(v, ForNesting)]
	default:
		return nil, fmt.Errorf("find seccomp filter: no filter for architecture %q, only for amd64 and arm64", arch)
	}
	if v > ForNesting {
		return nil, fmt.Errorf("find seccomp filter: no variant %v", v)
	}
	return []byte(filter), nil
}

// DefaultFor returns the filter of the default profile for t, with or without
// nested namespaces. It returns what [Default] has where that fits, and compiles
// the profile otherwise, in a few milliseconds.
func DefaultFor(t Target, nesting bool) ([]byte, error) {
	arch := t.Arch
	if arch == "" {
		arch = runtime.GOARCH
	}
	switch {
	case len(t.Caps) == 0 && !nesting:
		return Default(arch, ForNoCaps)
	case isDefaultCaps(t.Caps) && !nesting:
		return Default(arch, ForCaps)
	case nesting && (len(t.Caps) == 0 || isDefaultCaps(t.Caps)):
		return Default(arch, ForNesting)
	case nesting:
		return Compile([]byte(profileNesting), t)
	}
	return Compile([]byte(profileDefault), t)
}

// DefaultCaps lists the capabilities of uid 0 inside a sandbox (BuildKit's
// default set, mask 0xa80425fb), in the order of their numbers. The caller owns
// the slice.
func DefaultCaps() []string {
	return []string{
		"CAP_CHOWN",
		"CAP_DAC_OVERRIDE",
		"CAP_FOWNER",
		"CAP_FSETID",
		"CAP_KILL",
		"CAP_SETGID",
		"CAP_SETUID",
		"CAP_SETPCAP",
		"CAP_NET_BIND_SERVICE",
		"CAP_NET_RAW",
		"CAP_SYS_CHROOT",
		"CAP_MKNOD",
		"CAP_AUDIT_WRITE",
		"CAP_SETFCAP",
	}
}

// isDefaultCaps says whether caps is the set DefaultCaps, in any order.
func isDefaultCaps(caps []string) bool {
	have := slices.Sorted(slices.Values(caps))
	want := slices.Sorted(slices.Values(DefaultCaps()))
	return slices.Equal(slices.Compact(have), want)
}
