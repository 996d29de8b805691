package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sandbox.example/pty"
	"sandbox.example/sandbox/runc"
)

// Reason says why a process ended.
type Reason string

// The reasons, as --result-file spells them.
const (
	ReasonExit    Reason = "exit"    // it called exit
	ReasonSignal  Reason = "signal"  // a signal killed it
	ReasonTimeout Reason = "timeout" // Process.Timeout had passed
)

// ErrNotRunning is wrapped when a process is started or signalled in a sandbox
// whose pid 1 is gone.
var ErrNotRunning = errors.New("is not running")

// ExitError says how a process ended, when not with exit code 0.
type ExitError struct {
	Code   int            // the exit code; 128 + n for signal n; 124 for a timeout
	Signal syscall.Signal // 0 if no signal killed it
	Reason Reason
}

// Error is "exit code 3", "killed by SIGKILL" and the like.
func (e *ExitError) Error() string {
	switch {
	case e.Reason == ReasonTimeout:
		return "timed out"
	case e.Signal != 0:
		return "killed by " + unix.SignalName(e.Signal)
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// Task is a process of a sandbox. Its methods may be called from any goroutine.
type Task struct {
	sb     *Sandbox
	ct     *runc.Container
	p      Process
	master *os.File // of its terminal, or nil
	// slave is the terminal itself. We have it open until the process has
	// ended: a process that closes it and opens /dev/tty again later must not
	// have made the master's reader stop.
	slave *os.File

	mu       sync.Mutex
	timedOut bool
	stop     chan struct{} // closed when the task has ended: ends the timers
}

// Start starts a process; the first one is pid 1. It returns when the process
// has been set going; see Started. What Start takes is released by Release.
func (sb *Sandbox) Start(ctx context.Context, p Process) (_ *Task, err error) {
	if sb.pid1 != nil {
		return nil, fmt.Errorf("start another process in a sandbox: exec %w", ErrLater)
	}
	if len(p.Args) == 0 {
		return nil, errors.New("arguments are required")
	}
	caps, err := allow(sb.spec.Grants, sb.spec, sb.user)
	if err != nil {
		return nil, err
	}
	filter, err := sb.filter(caps)
	if err != nil {
		return nil, err
	}
	limits, err := rlimits(p.Rlimits)
	if err != nil {
		return nil, err
	}
	t := &Task{sb: sb, p: p, stop: make(chan struct{})}
	var passed closers // ours until the process has them
	defer func() {
		err = errors.Join(err, passed.run())
		if t.ct == nil {
			err = errors.Join(err, t.closeTerminal())
		}
	}()
	files, err := t.files(&passed)
	if err != nil {
		return nil, err
	}
	t.ct, err = sb.startPid1(ctx, runc.Process{
		Args: p.Args, Env: sb.environment(p), Cwd: sb.cwd,
		UID: sb.user.UID, GID: sb.user.GID, Groups: sb.user.Groups,
		Caps: caps, Umask: 0o022, Rlimits: limits,
		Filter: filter, FilterAll: sb.spec.Seccomp == "",
		Direct: sb.spec.NoInit, TTY: p.TTY, Files: files,
	})
	if err != nil {
		return nil, err
	}
	sb.pid1 = t
	sb.undo.add(t.end)
	go t.watch()
	return t, nil
}

// files returns what the process gets, checked; opened is what we opened.
func (t *Task) files(opened *closers) (map[int]*os.File, error) {
	out := make(map[int]*os.File)
	for n, f := range t.p.Files {
		if slices.Contains(t.p.StandIns, n) {
			// So that /proc/self/fd/N can be opened inside. Where we may
			// not give it away (its group is not in our map) it cannot.
			uid, _ := t.sb.ids.uid(t.sb.user.UID)
			_ = unix.Fchown(int(f.Fd()), uid, -1)
			out[n] = f
			continue
		}
		pass, err := passFile(n, f)
		if err != nil {
			return nil, err
		}
		if pass == nil {
			if pass, err = copied(f); err != nil {
				return nil, err
			}
		}
		if pass != f {
			opened.add(pass.Close)
		}
		out[n] = pass
	}
	if t.p.TTY {
		slave, err := t.terminal()
		if err != nil {
			return nil, err
		}
		out[0], out[1], out[2] = slave, slave, slave
	}
	for n := range 3 {
		if out[n] != nil {
			continue
		}
		null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		opened.add(null.Close)
		out[n] = null
	}
	return out, nil
}

// copied returns a pipe that f's content goes through: for a file without a
// name that could be opened read-only.
func copied(f *os.File) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		defer w.Close()
		io.Copy(w, f) // a reader that leaves early is no error
	}()
	return r, nil
}

// terminal makes the process's terminal on the sandbox's own devpts.
func (t *Task) terminal() (*os.File, error) {
	ptmx, err := openInRoot(t.sb.root, "dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open a terminal: %w", err)
	}
	slave, err := pty.Open(ptmx)
	if err != nil {
		return nil, errors.Join(err, ptmx.Close())
	}
	t.master, t.slave = ptmx, slave
	uid, _ := t.sb.ids.uid(t.sb.user.UID)
	err = unix.Fchown(int(slave.Fd()), uid, -1)
	if err == nil && t.p.Size != (pty.Size{}) {
		err = pty.Resize(slave, t.p.Size)
	}
	if err != nil {
		return nil, fmt.Errorf("prepare a terminal: %w", err)
	}
	return slave, nil
}

// closeTerminal closes both sides; the caller of Terminal may have closed the
// master.
func (t *Task) closeTerminal() error {
	var errs []error
	for _, f := range []*os.File{t.master, t.slave} {
		if f == nil {
			continue
		}
		if err := f.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// watch ends the process at its timeout, and the timers with the process.
func (t *Task) watch() {
	defer close(t.stop)
	if t.slave != nil {
		defer t.slave.Close() // closeTerminal knows
	}
	if t.p.Timeout <= 0 {
		<-t.ct.Ended()
		return
	}
	timer := time.NewTimer(t.p.Timeout)
	defer timer.Stop()
	select {
	case <-t.ct.Ended():
		return
	case <-timer.C:
	}
	t.mu.Lock()
	t.timedOut = true
	t.mu.Unlock()
	// Errors mean that it is gone already, or that SIGKILL has to do it.
	_ = t.Signal(syscall.SIGTERM)
	timer.Reset(t.p.StopTimeout)
	select {
	case <-t.ct.Ended():
	case <-timer.C:
		_ = t.ct.Kill()
		<-t.ct.Ended()
	}
}

// Started is closed at the one moment at which the process runs, or when it
// is known that it cannot be run.
func (t *Task) Started() <-chan struct{} { return t.ct.Started() }

// Pid returns the process's number in our own pid namespace: of pid 1's
// reaper, which stands for it.
func (t *Task) Pid() int { return t.ct.Pid() }

// Terminal returns the master of the process's terminal, nil without TTY. A
// read from it gives EIO when the process has ended and all output was read.
// Release closes it, if the caller has not done so to hang the terminal up.
func (t *Task) Terminal() *os.File { return t.master }

// Resize sets the size of the process's terminal.
func (t *Task) Resize(s pty.Size) error {
	if t.master == nil {
		return errors.New("resize: the process has no terminal")
	}
	return pty.Resize(t.master, s)
}

// Signal sends sig: INT, QUIT, HUP, TSTP and CONT to the process group, as a
// terminal would, others to the process alone. SIGKILL ends the sandbox when
// the process is pid 1.
func (t *Task) Signal(sig syscall.Signal) error {
	select {
	case <-t.ct.Ended():
		return fmt.Errorf("signal: sandbox %q %w", t.sb.state.id, ErrNotRunning)
	default:
	}
	group := slices.Contains([]syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGTSTP, syscall.SIGCONT}, sig)
	if sig == syscall.SIGKILL {
		return t.ct.Kill()
	}
	return t.ct.Signal(sig, group)
}

// Wait blocks until the process has ended. nil is exit code 0; else the error
// is an *ExitError, or a *CommandError when it could not be run at all.
func (t *Task) Wait() error {
	status := t.ct.Status()
	<-t.stop
	if err := t.ct.Err(); err != nil {
		return t.commandError(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.timedOut:
		e := &ExitError{Code: 124, Reason: ReasonTimeout}
		if status.Signaled() {
			e.Signal = status.Signal()
		}
		return e
	case status.Signaled():
		return &ExitError{Code: 128 + int(status.Signal()), Signal: status.Signal(), Reason: ReasonSignal}
	case status.ExitStatus() != 0:
		return &ExitError{Code: status.ExitStatus(), Reason: ReasonExit}
	}
	return nil
}

// killTime is how long a killed process may take to be gone.
const killTime = 2 * time.Second

// end kills the process if it lives and releases what it has.
func (t *Task) end() error {
	if err := t.ct.Kill(); err != nil {
		return fmt.Errorf("kill pid 1: %w", err)
	}
	timer := time.NewTimer(killTime)
	defer timer.Stop()
	select {
	case <-t.ct.Ended():
	case <-timer.C:
		// Uninterruptible sleep on a host file system: the kernel's, not ours.
		return fmt.Errorf("pid 1 (process %d) does not end: it waits for a host file system; the kernel ends it when that answers", t.ct.Pid())
	}
	<-t.stop
	return errors.Join(t.ct.Close(), t.closeTerminal())
}
