// Package sandbox runs commands in rootless sandboxes: user, mount, pid, net,
// ipc, uts and cgroup namespaces with a root, mounts and a terminal of their
// own, shaped like the gateway containers of BuildKit.
//
// An Engine creates a Sandbox from a Spec; the first Process started in it is
// pid 1; a Task is a running process; Release takes everything back. All of
// it happens in the calling process, the supervisor, which must be root of a
// user namespace (package userns) and must have a mount namespace of its own.
package sandbox

import (
	"net/netip"
	"os"
	"time"

	"sandbox.example/pty"
)

// Network says which network a sandbox has.
type Network string

// The networks; "" is NetworkNone.
const (
	NetworkNone    Network = "none"    // loopback alone
	NetworkHost    Network = "host"    // the caller's own; needs a grant
	NetworkPrivate Network = "private" // comes later
)

// Security is the security mode; "" is SecuritySandbox.
type Security string

// The security modes.
const (
	SecuritySandbox Security = "sandbox"
	// SecurityInsecure gives uid 0 every capability of the sandbox's own user
	// namespace, no filter and no masks; of the host's rights it gives none.
	SecurityInsecure Security = "insecure"
)

// HostEntry is a line of /etc/hosts.
type HostEntry struct {
	Name string     `json:"name"`
	IP   netip.Addr `json:"ip"`
}

// HostView is what the host root takes from the caller. It means something
// for the root of kind RootHost only, but for Writable.
type HostView struct {
	Home string `json:"home,omitempty"` // the caller's $HOME: becomes a private tmpfs
	Cwd  string `json:"cwd,omitempty"`  // the caller's working directory: shown read-only; "" shows none
	Path string `json:"path,omitempty"` // the caller's $PATH

	Show     []string `json:"show,omitempty"`     // --ro: host paths shown at their own paths
	Writable []string `json:"writable,omitempty"` // --rw: the same, for real writes
	Hide     []string `json:"hide,omitempty"`     // --hide: covered by something empty
}

// Spec is the wish for a sandbox: plain data, valid after its parsers, that
// prints as JSON. Zero values are the documented defaults.
type Spec struct {
	Name     string `json:"name,omitempty"`
	Hostname string `json:"hostname,omitempty"` // default: Name, else the id

	Root         Root     `json:"root"`
	RootReadOnly bool     `json:"rootReadOnly,omitempty"` // no writable layer
	RootWritable bool     `json:"rootWritable,omitempty"` // writes go through to the directory
	Host         HostView `json:"host,omitzero"`
	Mounts       []Mount  `json:"mounts,omitempty"`

	User string `json:"user,omitempty"` // as ParseUser; of pid 1, and of what its mounts belong to
	Cwd  string `json:"cwd,omitempty"`  // default: "/", in the host root the caller's

	Network Network     `json:"network,omitempty"`
	Hosts   []HostEntry `json:"hosts,omitempty"` // added to /etc/hosts

	Security Security `json:"security,omitempty"`
	Seccomp  string   `json:"seccomp,omitempty"` // a profile's path, "unconfined", or "": the default
	CapAdd   []string `json:"capAdd,omitempty"`  // CAP_… or ALL
	CapDrop  []string `json:"capDrop,omitempty"`
	Grants   []Grant  `json:"grants,omitempty"`
	Require  []string `json:"require,omitempty"` // protections whose absence is an error

	NoInit bool `json:"noInit,omitempty"` // the command itself is pid 1
}

// Process is the wish for one process of a sandbox.
type Process struct {
	Args []string `json:"args"`
	// Env is K=V pairs that are put over the base environment; a later one
	// wins.
	Env     []string `json:"env,omitempty"`
	TTY     bool     `json:"tty,omitempty"`
	Size    pty.Size `json:"size,omitzero"` // of the terminal, before the first byte
	Term    string   `json:"term,omitempty"`
	Rlimits []Rlimit `json:"rlimits,omitempty"`

	// Timeout ends the process with SIGTERM; 0: never.
	Timeout time.Duration `json:"timeoutNanoseconds,omitempty"`
	// StopTimeout is how long after SIGTERM comes SIGKILL.
	StopTimeout time.Duration `json:"stopTimeoutNanoseconds,omitempty"`

	// Files is what the process gets, by descriptor number; 0, 1 and 2 are
	// /dev/null unless given, and are not used with TTY. They are passed, not
	// copied; the caller keeps and closes its own. Only pipes, sockets,
	// regular files, memfds and the plainest devices may be passed.
	Files map[int]*os.File `json:"-"`
	// StandIns are the numbers in Files that are slaves of terminals made for
	// this process alone (pty.Output). Any other terminal is refused.
	StandIns []int `json:"-"`
}
