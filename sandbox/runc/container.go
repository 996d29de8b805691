package runc

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"sandbox.example/sandbox/stage"
)

// Container is a sandbox's pid 1 and the namespaces that live with it.
type Container struct {
	pid   int
	pidfd *os.File
	sock  *os.File

	direct  bool
	started chan struct{} // closed when the command runs, or never will
	heard   chan struct{} // closed when pid 1's last report has been read
	ended   chan struct{} // closed when pid 1 is gone and collected

	mu     sync.Mutex // guards the fields below, and writes on sock
	status syscall.WaitStatus
	told   bool   // pid 1 reported the command's status
	booted bool   // the boot message has been sent
	early  []byte // messages that must follow it
	err    error

	watch *os.File // --init=false: the watcher's lifeline
}

// Prepared is what can be made before the root's tree is there. It is used
// once, by Start, or closed.
type Prepared struct {
	lc   *libcontainer.Container
	prog *os.File
}

// Close releases what New took. It may be called after Start.
func (pr *Prepared) Close() error {
	if pr.prog == nil {
		return nil
	}
	err := pr.prog.Close()
	pr.prog = nil
	return err
}

// New prepares a container: it writes libcontainer's state and the stage
// program, a millisecond that the caller can spend on another thread.
func New(c Config) (*Prepared, error) {
	logrus.SetOutput(io.Discard) // what libcontainer's init logs comes back as its error
	prog, err := stage.Open()
	if err != nil {
		return nil, err
	}
	lc, err := load(c)
	if err != nil {
		return nil, errors.Join(err, prog.Close())
	}
	return &Prepared{lc, prog}, nil
}

// Start creates the namespaces and starts pid 1 with p in them. It returns
// when pid 1 has been started; whether the command itself could be run is
// known when Started is closed. Close must be called in the end.
func (pr *Prepared) Start(p Process) (_ *Container, err error) {
	defer func() { err = errors.Join(err, pr.Close()) }()
	boot, files, err := bootMessage(p)
	if err != nil {
		return nil, err
	}
	raised, err := p.raised()
	if err != nil {
		return nil, err
	}
	sock, peer, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer peer.Close()
	defer func() {
		if err != nil {
			sock.Close()
		}
	}()

	process := &libcontainer.Process{
		Init: true,
		Args: []string{"/proc/self/fd/3"}, // prog: the stage program
		// Set, so that libcontainer does not look it up in the root's /etc/passwd.
		Env:              []string{"HOME=/"},
		UID:              p.UID,
		GID:              p.GID,
		AdditionalGroups: p.Groups,
		Cwd:              p.Cwd,
		Capabilities:     &configs.Capabilities{Bounding: p.Caps, Effective: p.Caps, Permitted: p.Caps},
		Rlimits:          raised,
		// No stdio: libcontainer would chown it to the command's user. The
		// command's descriptors go through ExtraFiles, untouched.
		ExtraFiles: append([]*os.File{pr.prog, peer}, files...),
	}
	ct := &Container{sock: sock, direct: p.Direct, started: make(chan struct{}), heard: make(chan struct{}), ended: make(chan struct{})}
	up := make(chan error)
	go ct.live(pr.lc, process, up)
	if err := <-up; err != nil {
		return nil, &StartError{err}
	}
	peer.Close()
	if p.Direct {
		if err := ct.startWatcher(); err != nil {
			return nil, errors.Join(err, ct.Kill(), ct.Close())
		}
	}
	go ct.listen(boot)
	return ct, nil
}

// StartError says that the namespaces could not be made or filled: pid 1 has not
// run. Start may be tried again with another Config.
type StartError struct{ Err error }

// Error is one line.
func (e *StartError) Error() string { return fmt.Sprintf("start pid 1: %v", e.Err) }

// Unwrap returns what libcontainer says.
func (e *StartError) Unwrap() error { return e.Err }

// live starts pid 1 and collects it.
//
// The kernel sends PDEATHSIG when the *thread* that forked ends (prctl(2)), so
// this goroutine keeps its thread for as long as pid 1 lives.
func (ct *Container) live(lc *libcontainer.Container, process *libcontainer.Process, up chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := lc.Run(process)
	if err == nil {
		ct.pid, err = process.Pid()
	}
	if err == nil {
		// Our child, not yet waited for: the pid cannot be another's.
		var fd int
		if fd, err = unix.PidfdOpen(ct.pid, 0); err == nil {
			ct.pidfd = os.NewFile(uintptr(fd), "pidfd")
		}
	}
	up <- err
	if err != nil {
		return
	}
	ct.awaitEnd()
	// Wait's error is the exit status once more; the state says it better.
	state, _ := process.Wait()
	ct.mu.Lock()
	if !ct.told && state != nil {
		ct.status, _ = state.Sys().(syscall.WaitStatus)
	}
	ct.mu.Unlock()
	// What pid 1 wrote is there to be read, and then the end of the socket:
	// unless a process with every right took pid 1's end and sent it out.
	if err := ct.sock.SetReadDeadline(time.Now().Add(reportTime)); err != nil {
		ct.sock.Close()
	}
	close(ct.ended)
}

// reportTime is for reading what is in a socket's buffer.
const reportTime = time.Second

// awaitEnd blocks until pid 1 has ended, and leaves its status to be collected.
//
// The kernel lets nobody inside stop pid 1, but for one way: a tracer that
// leaves right after PTRACE_ATTACH (ptrace(2)) leaves its SIGSTOP. Nobody
// inside can send the SIGCONT then, so we do.
func (ct *Container) awaitEnd() {
	fd := int(ct.pidfd.Fd())
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PIDFD, fd, &info, unix.WEXITED|unix.WSTOPPED|unix.WNOWAIT, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil, info.Code != cldStopped: // before Linux 5.4 no P_PIDFD: the stop stays
			return
		default:
			// Errors mean that it has ended meanwhile.
			_ = unix.Waitid(unix.P_PIDFD, fd, nil, unix.WSTOPPED|unix.WNOHANG, nil)
			_ = unix.PidfdSendSignal(fd, unix.SIGCONT, nil, 0)
		}
	}
}

const cldStopped = 5 // CLD_STOPPED, sigaction(2)

// listen sends the boot message and follows pid 1's reports until its end of
// the socket closes.
func (ct *Container) listen(boot []byte) {
	var once sync.Once
	started := func() { once.Do(func() { close(ct.started) }) }
	defer close(ct.heard)
	defer started()
	_, err := ct.sock.Write(boot)
	ct.mu.Lock()
	if err == nil && len(ct.early) > 0 { // signals that could not wait
		_, err = ct.sock.Write(ct.early)
	}
	if ignoreGone(err) != nil {
		ct.err = fmt.Errorf("send the boot message to pid 1: %w", err)
	}
	ct.booted = true
	ct.mu.Unlock()
	for {
		e, err := readEvent(ct.sock)
		if err != nil {
			return // pid 1 is gone, or it is the command and has closed it by exec
		}
		ct.mu.Lock()
		switch e.kind {
		case eventFailed:
			ct.err = e.failure()
		case eventExited:
			ct.status, ct.told = syscall.WaitStatus(e.value), true
		}
		ct.mu.Unlock()
		started()
	}
}

// Pid returns pid 1's number in our pid namespace.
func (ct *Container) Pid() int { return ct.pid }

// Started is closed at the moment the command runs, or when it is known that
// it will not: Err then tells why.
func (ct *Container) Started() <-chan struct{} { return ct.started }

// Ended is closed when pid 1 is gone, and with it every process inside.
func (ct *Container) Ended() <-chan struct{} { return ct.ended }

// Err returns why the command could not be run, an *ExecError mostly.
func (ct *Container) Err() error {
	ct.mu.Lock()
	defer ct.mu.Unlock()
	return ct.err
}

// Status returns how the command ended. It blocks until Ended and until pid
// 1's last report has been read.
func (ct *Container) Status() syscall.WaitStatus {
	<-ct.ended
	<-ct.heard
	ct.mu.Lock()
	defer ct.mu.Unlock()
	if !ct.told && !ct.direct && ct.err == nil && ct.status == 0 {
		// The reaper leaves with 0 after its report only: never take its
		// end for the command's success.
		ct.err = errors.New("pid 1 ended without a report")
	}
	return ct.status
}

// Signal sends sig to the command, or to its process group.
func (ct *Container) Signal(sig syscall.Signal, group bool) error {
	if ct.direct {
		if group { // pid 1 leads its group: libcontainer made a session of it
			return ignoreGone(unix.Kill(-ct.pid, sig))
		}
		return ignoreGone(unix.PidfdSendSignal(int(ct.pidfd.Fd()), sig, nil, 0))
	}
	value := uint32(sig)
	if group {
		value |= signalGroup
	}
	msg := binary.LittleEndian.AppendUint32(nil, cmdSignal)
	msg = binary.LittleEndian.AppendUint32(msg, value)
	ct.mu.Lock()
	defer ct.mu.Unlock()
	if !ct.booted {
		ct.early = append(ct.early, msg...)
		return nil
	}
	_, err := ct.sock.Write(msg)
	return ignoreGone(err)
}

// Kill ends pid 1 from outside, whatever state it is in, and with it every
// process of the pid namespace.
func (ct *Container) Kill() error {
	return ignoreGone(unix.PidfdSendSignal(int(ct.pidfd.Fd()), unix.SIGKILL, nil, 0))
}

func ignoreGone(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EPIPE) {
		return nil
	}
	return err
}

// Close releases what Start took. pid 1 must have ended.
func (ct *Container) Close() error {
	<-ct.ended
	var errs []error
	for _, f := range []*os.File{ct.sock, ct.pidfd, ct.watch} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// load makes a libcontainer container that has never run.
//
// Not through libcontainer.Create, but from a state file of our own: Create
// insists on finding cgroups and parses them (0.8 ms), fails where none are
// mounted, and as root would make one in every hierarchy and leave it there
// after a SIGKILL. The manager of version 2 leaves alone a path that is not
// below its mount point; that of version 1 would make it, but does nothing for
// a hierarchy that it does not know.
func load(c Config) (*libcontainer.Container, error) {
	dir := filepath.Join(c.StateDir, "pid1")
	if err := os.Mkdir(dir, 0o711); err != nil {
		return nil, err
	}
	hierarchy := ""
	if !cgroups.IsCgroup2UnifiedMode() {
		hierarchy = "none"
	}
	state := libcontainer.State{CgroupPaths: map[string]string{hierarchy: "/sandbox-uses-no-cgroup"}}
	state.ID = "pid1"
	state.Config = *c.libcontainer()
	b, err := json.Marshal(state)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "state.json"), b, 0o600); err != nil {
		return nil, err
	}
	return libcontainer.Load(c.StateDir, "pid1")
}

// socketPair returns two connected stream sockets, ours pollable.
func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fds[0]), "pid1"), os.NewFile(uintptr(fds[1]), "pid1-peer"), nil
}
