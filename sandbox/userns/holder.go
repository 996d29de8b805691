package userns

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rootless-containers/rootlesskit/v3/pkg/child"
	"github.com/rootless-containers/rootlesskit/v3/pkg/parent"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"sandbox.example/sandbox/stage"
)

// The holder is made in these steps:
//
//	constructor of "sandbox run"      sandbox holder           its child
//	    | -- fork, exec ----------------> |
//	    |                                 | rootlesskit's parent
//	    |                                 | -- clone(NEWUSER) -----> | rootlesskit's child
//	    |                                 | -- newuidmap, newgidmap  |
//	    |                                 |                          | record of its pid,
//	    |                                 |                          | exec of stage/c/pause.c
//	    | <------------ 'k' on the ready pipe ---------------------- |
//	    | joins                           | exits                    | sleeps
//
// On failure one of them writes a letter and a text instead, which join.c reads:
//
//	n TEXT     this machine has no ranges for us
//	m TEXT     newuidmap or newgidmap refuses the ranges
//	c ERRNO    no user namespace can be made
//	r ERRNO    one was made, but it gives no rights
//	e TEXT     anything else
const (
	leaseFD = 10 // the lease, the holder's directory and the ready pipe, as
	dirFD   = 11 // join.c places them: above what rootlesskit passes
	readyFD = 12
	upFD    = 13 // tells the parent that the child is about to sleep

	idleEnv     = "SANDBOX_HOLDER_IDLE" // seconds; 0: stdin is a lifeline
	pipeEnv     = "SANDBOX_HOLDER_PIPE" // set by rootlesskit for its child
	stateEnv    = "SANDBOX_HOLDER_STATE"
	activateEnv = "SANDBOX_HOLDER_ACTIVATE"
	helperEnv   = "SANDBOX_HOLDER_HELPER"

	watchdog = 4500 * time.Millisecond // rootlesskit waits for ever if its child dies early
)

// Holder makes a user namespace through rootlesskit and keeps it: the main
// function of "sandbox holder", started by the constructor only. It returns
// an error when started by hand; otherwise what went wrong is written to the
// constructor's pipe, and the returned error is for the exit code alone.
func Holder() error {
	logrus.SetOutput(io.Discard) // stdio is /dev/null; errors go over the pipe
	if os.Getenv(pipeEnv) != "" {
		return holderChild()
	}
	if os.Getenv(idleEnv) == "" {
		return errors.New(`"sandbox holder" is started by "sandbox run", not by hand`)
	}
	err := holderParent()
	if err == nil || errors.Is(err, errTold) {
		return err
	}
	return tell(kindOf(err))
}

// kindOf chooses the letter for what went wrong in the parent.
func kindOf(err error) (byte, error) {
	var (
		start *os.PathError
		errno syscall.Errno
		exit  *exec.ExitError
	)
	switch {
	case errors.Is(err, errNoRanges):
		return 'n', err
	case errors.As(err, &start) && start.Path == "/proc/self/exe" && errors.As(start, &errno):
		return 'c', errno // rootlesskit could not clone its child
	case errors.As(err, &exit) && exit.ExitCode() == 1:
		return 'm', err // newuidmap or newgidmap; the child's own codes are others
	}
	return 'e', err
}

// tell writes why there is no namespace to the constructor's pipe.
func tell(kind byte, err error) error {
	text := strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", ": ")
	if errno, ok := err.(syscall.Errno); ok && (kind == 'c' || kind == 'r') {
		text = strconv.Itoa(int(errno))
	}
	_, werr := unix.Write(readyFD, append([]byte{kind}, text...))
	return errors.Join(err, os.NewSyscallError("write", werr))
}

var (
	errNoRanges = errors.New("no subordinate ids")
	errTold     = errors.New("rootlesskit's child has told what happened")
)

// holderParent returns nil once the sleeping child is up.
// Runs in: sandbox holder, as the user.
func holderParent() error {
	source, err := subidSource()
	if err != nil {
		return err
	}
	if err := sweepHolder(os.Getenv(idleEnv) == "0"); err != nil {
		return fmt.Errorf("clear what killed runs left: %w", err)
	}
	// Below the holder's directory, by descriptor: a socket's path is short.
	state, err := os.MkdirTemp("/proc/self/fd/"+strconv.Itoa(dirFD), "rootlesskit-")
	if err != nil {
		return fmt.Errorf("make rootlesskit's state directory: %w", err)
	}
	// rootlesskit removes it when its child ends; we leave before that.
	defer os.RemoveAll(state)

	// The child inherits the other end and writes when it is about to sleep.
	up, upChild, err := os.Pipe()
	if err != nil {
		return err
	}
	defer up.Close()
	if err := unix.Dup3(int(upChild.Fd()), upFD, 0); err != nil {
		return os.NewSyscallError("dup3", err)
	}
	upChild.Close()

	done := make(chan error, 1)
	go func() {
		// rootlesskit sets PDEATHSIG without locking: the thread that forks
		// must live as long as the child needs it.
		runtime.LockOSThread()
		done <- parent.Parent(parent.Opt{
			PipeFDEnvKey:             pipeEnv,
			ChildUseActivationEnvKey: activateEnv,
			StateDir:                 state,
			StateDirEnvKey:           stateEnv,
			SubidSource:              source,
		})
		select {} // the thread stays until the process ends
	}()
	asleep := make(chan error, 1)
	go func() {
		var b [1]byte
		_, err := up.Read(b[:])
		asleep <- err
	}()
	select {
	case err := <-done:
		if err == nil {
			err = errors.New("its child ended")
		}
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == 125 {
			return errTold
		}
		return fmt.Errorf("rootlesskit: %w", err)
	case err := <-asleep:
		return err
	case <-time.After(watchdog):
		return fmt.Errorf("rootlesskit: not ready within %v", watchdog)
	}
}

// sweepHolder removes what runs left that were killed while they made a holder.
// only: our directory is that of one run, below the one that all share.
func sweepHolder(only bool) error {
	all := "/proc/self/fd/" + strconv.Itoa(dirFD)
	if only {
		all += "/.."
	}
	entries, err := os.ReadDir(all)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(all, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "only."):
			errs = append(errs, sweepOnly(path))
		case only:
		case strings.HasPrefix(e.Name(), "rootlesskit-") || strings.HasPrefix(e.Name(), "record."):
			// The constructor that waits for us has the lock: nobody else
			// makes a holder here now.
			errs = append(errs, os.RemoveAll(path))
		}
	}
	return errors.Join(errs...)
}

// sweepOnly removes the directory of a holder for one run, unless its
// constructor is still at work in it.
func sweepOnly(path string) error {
	dir, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // its owner was faster
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	if unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil
	}
	return os.RemoveAll(path)
}

// holderChild runs rootlesskit's side inside the new namespace and becomes the
// sleeping process from its last hook.
// Runs in: the new user and mount namespace.
func holderChild() error {
	err := child.Child(child.Opt{
		PipeFDEnvKey:              pipeEnv,
		RunActivationHelperEnvKey: helperEnv,
		ChildUseActivationEnvKey:  activateEnv,
		StateDirEnvKey:            stateEnv,
		TargetCmd:                 []string{"/proc/self/exe"}, // never reached
		CopyUpDriver:              sleepHook{},
		Propagation:               "rslave",
	})
	ids, merr := Current()
	if merr != nil || len(ids.GIDs) == 0 {
		return err // the parent has failed before us, and tells
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) && capEff() == 0 {
		errno = syscall.EPERM // rootlesskit has looked for capabilities in vain
	}
	if errno == syscall.EPERM || errno == syscall.EACCES {
		return tell('r', errno)
	}
	return tell('e', err)
}

// sleepHook is rootlesskit's copy-up driver: called when the namespace is
// complete, it does not copy but turns the process into stage/c/pause.c.
type sleepHook struct{}

// CopyUp returns only on error.
func (sleepHook) CopyUp([]string) ([]string, error) {
	prog, err := stage.Open()
	if err != nil {
		return nil, err
	}
	const keep = 20
	if err := unix.Dup3(int(prog.Fd()), keep, unix.O_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("dup3", err)
	}
	start, err := startTime(os.Getpid())
	if err != nil {
		return nil, err
	}
	if err := writeRecord(fmt.Sprintf("%d %s\n", os.Getpid(), start)); err != nil {
		return nil, fmt.Errorf("write the holder's record: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return nil, err
	}
	tick, ticks := idleTicks(os.Getenv(idleEnv))
	// rootlesskit's parent may be gone before the program runs.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0); err != nil {
		return nil, os.NewSyscallError("prctl(PR_SET_PDEATHSIG)", err)
	}
	for i, from := range []int{leaseFD, dirFD, readyFD} {
		if err := unix.Dup3(from, 3+i, 0); err != nil {
			return nil, os.NewSyscallError("dup3", err)
		}
	}
	if _, err := unix.Write(upFD, []byte{'u'}); err != nil {
		return nil, os.NewSyscallError("write", err)
	}
	if err := unix.CloseRange(6, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("close_range", err)
	}
	err = unix.Exec("/proc/self/fd/"+strconv.Itoa(keep), []string{"sandbox", "holder", tick, ticks}, nil)
	return nil, os.NewSyscallError("execve", err)
}

// idleTicks splits the idle time into at most 15 looks.
func idleTicks(seconds string) (tick, ticks string) {
	n, err := strconv.Atoi(seconds)
	if err != nil || n <= 0 {
		return "0", "0"
	}
	t := max(1, n/15)
	return strconv.Itoa(t), strconv.Itoa(max(1, n/t))
}

// writeRecord names us in the holder's directory: whoever finds it can join.
func writeRecord(line string) error {
	tmp := "record." + strconv.Itoa(os.Getpid())
	fd, err := unix.Openat(dirFD, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), tmp)
	_, err = f.WriteString(line)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, unix.Unlinkat(dirFD, tmp, 0))
	}
	return unix.Renameat(dirFD, tmp, dirFD, "record")
}
