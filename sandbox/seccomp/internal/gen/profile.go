package gen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	moby "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// profile is moby's type with the field that package seccomp adds to rules.
type profile struct {
	specs.LinuxSeccomp
	ArchMap  []moby.Architecture `json:"archMap,omitempty"`
	Syscalls []*group            `json:"syscalls"`
}

type group struct {
	*moby.Syscall
	ElseErrnoRet *uint `json:"elseErrnoRet,omitempty"`
}

// Profile returns the default profile, or the one for --allow nesting, as JSON.
func Profile(nesting bool) ([]byte, error) {
	base := moby.DefaultProfile()
	p := profile{LinuxSeccomp: base.LinuxSeccomp}
	for _, a := range base.ArchMap {
		if a.Arch == specs.ArchX86_64 || a.Arch == specs.ArchAARCH64 {
			p.ArchMap = append(p.ArchMap, a)
		}
	}
	if len(p.ArchMap) != 2 {
		return nil, fmt.Errorf("make seccomp profile: moby's profile lacks an architecture: %v", base.ArchMap)
	}
	replaced := slices.Concat(never(), []string{"clone3", "socket", "socketpair"})
	if nesting {
		replaced = slices.Concat(replaced, namespaceCalls(), mountAPI(), []string{"clone"})
	}
	for _, g := range base.Syscalls {
		if in := g.Includes; in != nil && len(in.Arches) > 0 && !slices.ContainsFunc(in.Arches, ours) {
			continue
		}
		g.Names = slices.DeleteFunc(slices.Clone(g.Names), func(name string) bool { return slices.Contains(replaced, name) })
		if len(g.Names) > 0 {
			p.Syscalls = append(p.Syscalls, &group{Syscall: g})
		}
	}
	// open_tree_attr is younger than moby's profile.
	for _, g := range p.Syscalls {
		if slices.Contains(g.Names, "open_tree") {
			g.Names = append(g.Names, "open_tree_attr")
		}
	}
	p.add("dangerous, whatever the capabilities are", refuse(unix.EPERM, never()...))
	p.add("the flags are in memory; libraries go on with clone", refuse(unix.ENOSYS, "clone3"))
	for _, request := range []uint64{unix.TIOCSTI, unix.TIOCLINUX} {
		g := refuse(unix.EPERM, "ioctl")
		g.Args = []specs.LinuxSeccompArg{low32(1, request)}
		p.add("types into the terminal, or reads its screen", g)
	}
	p.sockets()
	if nesting {
		p.add("--allow nesting", allow(slices.Concat(namespaceCalls(), mountAPI(), []string{"clone"})...))
	} else {
		g := refuse(unix.EPERM, slices.Concat([]string{"setns", "unshare"}, mountAPI())...)
		g.Excludes = &moby.Filter{Caps: []string{"CAP_SYS_ADMIN"}}
		p.add("makes namespaces and mounts", g)
		g = refuse(unix.EPERM, "clone", "unshare")
		g.Args = []specs.LinuxSeccompArg{{Index: 0, Op: specs.OpMaskedEqual, Value: unix.CLONE_NEWUSER, ValueTwo: unix.CLONE_NEWUSER}}
		p.add("nested user namespaces need --allow nesting, not a capability", g)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "\t")
	if err := e.Encode(p); err != nil {
		return nil, fmt.Errorf("write seccomp profile: %w", err)
	}
	return b.Bytes(), nil
}

// sockets adds the address families, where moby has all but two.
func (p *profile) sockets() {
	noFamily := uint(unix.EAFNOSUPPORT)
	add := func(args ...specs.LinuxSeccompArg) {
		g := allow("socket", "socketpair")
		g.Args = args
		p.Syscalls = append(p.Syscalls, &group{Syscall: g, ElseErrnoRet: &noFamily})
	}
	add(low32(0, unix.AF_UNIX))
	add(low32(0, unix.AF_INET))
	add(low32(0, unix.AF_INET6))
	add(low32(0, unix.AF_NETLINK), low32(2, unix.NETLINK_ROUTE))
}

func (p *profile) add(comment string, g *moby.Syscall) {
	g.Comment = comment
	p.Syscalls = append(p.Syscalls, &group{Syscall: g})
}

// low32 matches arguments that the kernel takes as a 32-bit integer: the upper
// half of the register is whatever the caller left there.
func low32(index uint, value uint64) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: index, Op: specs.OpMaskedEqual, Value: 0xffffffff, ValueTwo: value}
}

func allow(names ...string) *moby.Syscall {
	return &moby.Syscall{LinuxSyscall: specs.LinuxSyscall{Names: names, Action: specs.ActAllow}}
}

func refuse(errno unix.Errno, names ...string) *moby.Syscall {
	ret := uint(errno)
	return &moby.Syscall{LinuxSyscall: specs.LinuxSyscall{Names: names, Action: specs.ActErrno, ErrnoRet: &ret}}
}

// ours says whether a GOARCH name in a condition is one we make filters for.
func ours(goarch string) bool { return goarch == "amd64" || goarch == "arm64" }

func never() []string {
	return []string{
		"add_key", "bpf", "io_uring_enter", "io_uring_register", "io_uring_setup", "keyctl",
		"perf_event_open", "request_key", "userfaultfd",
	}
}

func mountAPI() []string {
	return []string{
		"fsconfig", "fsmount", "fsopen", "fspick", "mount_setattr", "move_mount", "open_tree", "open_tree_attr",
	}
}

// namespaceCalls is what a sandbox inside the sandbox needs beside clone and
// the mount API. The kernel asks for capabilities in the nested namespace.
func namespaceCalls() []string {
	return []string{
		"chroot", "mount", "pivot_root", "setdomainname", "sethostname", "setns", "umount", "umount2", "unshare",
	}
}
