package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A probe makes real calls in a process of its own, as root of a new user
// namespace with one id. It never enters the namespaces of another.
//
//	sandbox doctor                            sandbox doctor --probe=NAME
//	     | -- clone(CLONE_NEWUSER), exec ------> |  works in its cwd
//	     | <------------ JSON, one object ------ |  and ends
//
// The names are between us and our own copy; they are no interface.
const (
	probeNamespaces = "namespaces"
	probeProc       = "proc"
	probeStage      = "stage"
	probeOverlay    = "overlay"
	probeFuse       = "fuse"
	probeTun        = "tun"
)

// probeResult is what a probe reports: each step with its error.
type probeResult struct {
	Steps []probeStep `json:"steps"`
}

type probeStep struct {
	Name  string        `json:"name"`
	Errno syscall.Errno `json:"errno,omitempty"` // of Text, when it has one
	Text  string        `json:"text,omitempty"`  // "" when the step worked
}

// try notes how a step went, and tells whether it worked.
func (r *probeResult) try(name string, err error) bool {
	s := probeStep{Name: name}
	if err != nil {
		s.Text = err.Error()
		errors.As(err, &s.Errno)
	}
	r.Steps = append(r.Steps, s)
	return err == nil
}

// failures returns "NAME: error" of the steps with that prefix that failed.
func (r *probeResult) failures(prefix string) []string {
	var out []string
	for _, s := range r.Steps {
		if name, ok := strings.CutPrefix(s.Name, prefix); ok && s.Text != "" {
			out = append(out, strings.TrimPrefix(name+": "+s.Text, ": "))
		}
	}
	return out
}

// errno returns the error of one step, 0 if it worked or was not reached.
func (r *probeResult) errno(name string) syscall.Errno {
	for _, s := range r.Steps {
		if s.Name == name {
			return s.Errno
		}
	}
	return 0
}

func (r *probeResult) hasErrno(prefix string, errno syscall.Errno) bool {
	for _, s := range r.Steps {
		if strings.HasPrefix(s.Name, prefix) && s.Errno == errno {
			return true
		}
	}
	return false
}

// done tells whether the probe came to this step and it worked.
func (r *probeResult) done(name string) bool {
	for _, s := range r.Steps {
		if s.Name == name {
			return s.Text == ""
		}
	}
	return false
}

var errNoUserns = errors.New("no user namespace can be made")

func probeCure(err error) string {
	if errors.Is(err, errNoUserns) {
		return "see the check userns"
	}
	return "try again; if it stays, report it"
}

// runProbe runs a probe in dir, with more kinds of new namespaces than the
// user's in flags. Its error is errNoUserns when there is none to be had.
func runProbe(ctx context.Context, name, dir string, flags uintptr) (*probeResult, error) {
	// Pdeathsig follows the thread that forked.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{"sandbox", "doctor", "--probe=" + name}
	cmd.Env = []string{}
	cmd.Dir = dir
	cmd.WaitDelay = 100 * time.Millisecond
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | flags,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		var errno syscall.Errno
		if errors.As(err, &errno) { // "fork/exec /proc/self/exe" would mislead
			err = errno
		}
		return nil, fmt.Errorf("%w: %w", errNoUserns, err)
	}
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("probe %q: no answer within %v", name, probeTimeout)
		}
		return nil, fmt.Errorf("probe %q: %w: %q", name, err, head(stderr.String()))
	}
	var res probeResult
	if err := json.Unmarshal(stdout.Bytes(), &res); err != nil {
		return nil, fmt.Errorf("probe %q: %w in %q", name, err, head(stdout.String()))
	}
	return &res, nil
}

func head(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s[:min(len(s), 200)]
}

// RunProbe is the probe's side of Diagnose: "sandbox doctor --probe=NAME"
// calls it and ends. It changes the namespaces of its thread: nothing else may
// run in the process.
// Runs in: a child of doctor, root of a new user namespace.
func RunProbe(name string, w io.Writer) error {
	runtime.LockOSThread() // and never unlocked
	probes := map[string]func(*probeResult){
		probeNamespaces: tryNamespaces,
		probeProc:       tryProc,
		probeStage:      tryStage,
		probeOverlay:    tryOverlay,
		probeFuse:       tryFuse,
		probeTun:        tryTun,
	}
	probe, ok := probes[name]
	if !ok {
		return fmt.Errorf("run probe %q: no such probe", name)
	}
	if m, err := os.ReadFile("/proc/self/setgroups"); err != nil || strings.TrimSpace(string(m)) != "deny" {
		return fmt.Errorf(`run probe %q: it is started by "sandbox doctor", not by hand`, name)
	}
	var res probeResult
	probe(&res)
	return json.NewEncoder(w).Encode(res)
}

// probeMounts gives this thread a mount namespace that nobody else sees.
func probeMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	// Below another user namespace the kernel has made every mount a slave
	// already (mount_namespaces(7)): nothing gets out.
	return nil
}

func tryNamespaces(res *probeResult) {
	res.try("unshare.mnt", probeMounts())
	res.try("unshare.user", nestedUser()) // before the pid namespace: it would be its pid 1
	for _, ns := range []struct {
		name string
		flag int
	}{{"net", unix.CLONE_NEWNET}, {"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}, {"cgroup", unix.CLONE_NEWCGROUP}, {"pid", unix.CLONE_NEWPID}} {
		res.try("unshare."+ns.name, os.NewSyscallError("unshare", unix.Unshare(ns.flag)))
	}
	for _, c := range neededCalls() {
		res.try("call."+c.name, c.try())
	}
}

// nestedUser makes a user namespace in the user namespace: the sandbox's own is
// nested like that.
func nestedUser() error {
	id := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
	err := runFromMemory(&syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: id, GidMappings: id})
	if errors.Is(err, errNoMemfd) {
		return nil // the check memfd tells
	}
	return err
}

// neededCall is a system call that run is built on.
type neededCall struct {
	name string
	try  func() error
}

// neededCalls are tried as run uses them, the youngest first.
func neededCalls() []neededCall {
	return []neededCall{
		{"mount_setattr", func() error {
			m, err := newTmpfs(tmpfsOptions{mode: 0o700}, 0)
			if err != nil {
				return err
			}
			defer m.Close()
			return setTree(m, unix.MOUNT_ATTR_RDONLY)
		}},
		{"open_tree", func() error {
			t, err := cloneTree("/proc")
			if err != nil {
				return err
			}
			return t.Close()
		}},
		{"openat2", func() error {
			root, err := os.Open("/")
			if err != nil {
				return err
			}
			defer root.Close()
			f, err := openInRoot(root, "proc", unix.O_PATH)
			if err != nil {
				return err
			}
			return f.Close()
		}},
		{"close_range", func() error {
			const none = 1 << 20 // nothing is open there
			return os.NewSyscallError("close_range", unix.CloseRange(none, none, 0))
		}},
		{"pidfd_open", func() error {
			fd, err := unix.PidfdOpen(os.Getpid(), 0)
			if err != nil {
				return os.NewSyscallError("pidfd_open", err)
			}
			defer unix.Close(fd)
			return os.NewSyscallError("pidfd_send_signal", unix.PidfdSendSignal(fd, 0, nil, 0))
		}},
	}
}

func callNames() []string {
	var names []string
	for _, c := range neededCalls() {
		names = append(names, c.name)
	}
	return append(names, "pidfd_send_signal", "fsopen", "fsmount")
}

// tryProc is also asked by run, when a sandbox cannot be started.
func tryProc(res *probeResult) {
	if !res.try("mnt", probeMounts()) {
		return
	}
	err := os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_NEWUTS))
	if err == nil {
		err = os.NewSyscallError("sethostname", unix.Sethostname([]byte("sandbox")))
	}
	res.try("hostname", err)
	m, err := newMount("proc", attrNoExec)
	if res.try("proc", err) {
		m.Close()
	}
	// A sysfs belongs to a network namespace.
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		res.try("sysfs", os.NewSyscallError("unshare", err))
		return
	}
	m, err = newMount("sysfs", attrNoExec|unix.MOUNT_ATTR_RDONLY)
	if res.try("sysfs", err) {
		m.Close()
	}
}

// tryStage executes the program of pid 1 where memfds cannot be executed.
func tryStage(res *probeResult) {
	if res.try("stage", probeMounts()) {
		res.try("stage", runFromMemory(nil))
	}
}

// release is the kernel's release, such as "6.1.0-13-amd64".
func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "of unknown release"
	}
	return unix.ByteSliceToString(u.Release[:])
}
