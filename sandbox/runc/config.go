// Package runc starts the processes of a sandbox: it turns our description
// into libcontainer's, and talks to the pid-1 program of package stage.
//
// Start is the call to begin with. Everything here runs in the supervisor, as
// root of its user namespace, with the root's tree already mounted: this
// package mounts only what must be mounted inside the new namespaces (proc,
// sysfs, mqueue) and never touches a cgroup.
package runc

import (
	"errors"
	"os"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// IDMap is one line of an id map (user_namespaces(7)).
type IDMap struct {
	Inside, Outside, Count int64
}

// Config describes the namespaces of a sandbox.
type Config struct {
	ID       string
	StateDir string // an existing directory of ours, 0700; libcontainer's files go below it
	Rootfs   string // the finished tree, a mount point in our mount namespace
	Dev      string // the finished /dev, bound over the root's
	Hostname string
	UIDs     []IDMap // of the nested user namespace
	GIDs     []IDMap

	HostNetwork bool // the caller's network namespace; else a new one with loopback up
	Unmasked    bool // leave all of /proc and /sys visible and writable
	Nesting     bool // allow user namespaces inside
	OuterProc   bool // no new proc can be mounted here: the tree has the one that we see
	OuterSys    bool // the same for sysfs
}

// Process describes pid 1.
type Process struct {
	Args    []string
	Env     []string // K=V; goes to pid 1 over its socket, never through libcontainer
	Cwd     string   // absolute, exists
	UID     int
	GID     int
	Groups  []int
	Caps    []string // CAP_…: permitted, effective and bounding
	Umask   int
	Rlimits []Rlimit

	Filter    []byte // cBPF, struct sock_filter array; empty: none
	FilterAll bool   // pid 1 runs under the filter too, not the command alone
	Direct    bool   // the command is pid 1 itself: no reaper
	TTY       bool   // descriptor 0 becomes the controlling terminal

	Files map[int]*os.File // what the command gets, by number; the caller closes
}

// Rlimit is one resource limit in the kernel's numbers (getrlimit(2)).
type Rlimit struct {
	Type       int
	Soft, Hard uint64
}

// maskedPaths and readonlyPaths are moby's (oci.DefaultLinuxSpec).
var (
	maskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
		"/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/devices/virtual/powercap", "/sys/firmware",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

const safe = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// libcontainer returns the library's form of c.
func (c Config) libcontainer() *configs.Config {
	out := &configs.Config{
		Rootfs:          c.Rootfs,
		Hostname:        c.Hostname,
		NoNewPrivileges: true,
		NoNewKeyring:    keyringsRefused(),
		RootlessCgroups: true,
		Cgroups:         &cgroups.Cgroup{Name: c.ID, Rootless: true, Resources: &cgroups.Resources{}},
		Namespaces: configs.Namespaces{
			{Type: configs.NEWUSER}, {Type: configs.NEWNS}, {Type: configs.NEWPID},
			{Type: configs.NEWIPC}, {Type: configs.NEWUTS}, {Type: configs.NEWCGROUP},
		},
		UIDMappings: idMaps(c.UIDs),
		GIDMappings: idMaps(c.GIDs),
	}
	if !c.OuterProc {
		out.Mounts = append(out.Mounts, &configs.Mount{Source: "proc", Device: "proc", Destination: "/proc", Flags: safe})
	}
	out.Mounts = append(out.Mounts, []*configs.Mount{
		{Source: c.Dev, Device: "bind", Destination: "/dev", Flags: unix.MS_BIND | unix.MS_REC},
		{Source: "mqueue", Device: "mqueue", Destination: "/dev/mqueue", Flags: safe},
	}...)
	if !c.HostNetwork { // a sysfs shows, and belongs to, its network namespace
		out.Namespaces = append(out.Namespaces, configs.Namespace{Type: configs.NEWNET})
		out.Networks = []*configs.Network{{Type: "loopback"}}
	}
	if !c.HostNetwork && !c.OuterSys {
		out.Mounts = append(out.Mounts, &configs.Mount{Source: "sysfs", Device: "sysfs", Destination: "/sys", Flags: safe | unix.MS_RDONLY})
	}
	if !c.Unmasked {
		out.MaskPaths = maskedPaths
		out.ReadonlyPaths = readonlyPaths
	}
	if !c.Nesting && !c.OuterProc { // that one is read-only; the filter still refuses nesting
		out.Sysctl = map[string]string{"user.max_user_namespaces": "0"}
	}
	return out
}

// keyringsRefused tells whether a filter around us refuses keyctl(2), as the one
// of an outer container does. It is also around the sandbox, which then can
// neither be given a session keyring of its own nor reach the caller's.
func keyringsRefused() bool {
	_, err := unix.KeyctlInt(unix.KEYCTL_GET_KEYRING_ID, unix.KEY_SPEC_SESSION_KEYRING, 0, 0, 0)
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS)
}

// raised returns the limits that are above ours. Nobody in a user namespace may
// raise one, so libcontainer does it from here; pid 1's program sets all of
// them to what they shall be, for the command alone.
func (p Process) raised() ([]configs.Rlimit, error) {
	var out []configs.Rlimit
	for _, l := range p.Rlimits {
		var now unix.Rlimit
		if err := unix.Getrlimit(l.Type, &now); err != nil {
			return nil, os.NewSyscallError("getrlimit", err)
		}
		if l.Hard > now.Max {
			out = append(out, configs.Rlimit{Type: l.Type, Soft: now.Cur, Hard: l.Hard})
		}
	}
	return out, nil
}

func idMaps(m []IDMap) []configs.IDMap {
	out := make([]configs.IDMap, len(m))
	for i, l := range m {
		out[i] = configs.IDMap{ContainerID: l.Inside, HostID: l.Outside, Size: l.Count}
	}
	return out
}
