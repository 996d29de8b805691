package userns

/*
#include "enter.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"syscall"
)

// EnterError says why no way led into a user namespace. Its hint is what the
// caller, or an administrator, can do about it.
type EnterError struct {
	Action string // what was tried
	Cause  string // what keeps it from working, "" when the error says it all
	Err    error
	Hint   string
}

// Error is one line without the hint.
func (e *EnterError) Error() string {
	if e.Cause == "" {
		return fmt.Sprintf("%s: %v", e.Action, e.Err)
	}
	return fmt.Sprintf("%s: %s: %v", e.Action, e.Cause, e.Err)
}

// Unwrap returns the system's error.
func (e *EnterError) Unwrap() error { return e.Err }

// CreateError is the error of a process inside a user namespace that could not
// make another one.
func CreateError(errno syscall.Errno) *EnterError {
	e := &EnterError{Action: "create a user namespace", Err: errno}
	return e.explained(ExplainCreate(errno))
}

const moreInDoctor = `; "sandbox doctor" tells more`

// explained completes e by what was found.
func (e *EnterError) explained(f Finding) *EnterError {
	e.Cause, e.Hint = f.Cause, f.Cure
	if f.Who == Administrator {
		e.Hint += " (administrator)"
	}
	e.Hint += moreInDoctor
	return e
}

// Err returns nil when a namespace was entered, else an *EnterError.
func (e Entry) Err() error {
	if e.Way != failed && e.Way != None {
		return nil
	}
	ee := &EnterError{Action: "enter a user namespace", Err: e.errno, Hint: `run "sandbox doctor"`}
	why := func() error {
		if e.Why != "" {
			return errors.New(e.Why)
		}
		return e.errno
	}
	switch e.step {
	case C.STEP_PROC:
		ee.Action, ee.Hint = "read /proc/self/ns/user", "mount /proc; a kernel without user namespaces (CONFIG_USER_NS) cannot run sandboxes"
	case C.STEP_PROC_OTHER:
		ee.Action, ee.Cause = "find this process in /proc", "it shows another pid namespace"
		ee.Hint = "mount a new one in this pid namespace: mount -t proc proc /proc, or unshare --mount-proc"
	case C.STEP_RUNTIME:
		ee.Action, ee.Hint = "make the runtime directory", "set XDG_RUNTIME_DIR to a directory that is yours alone (mode 0700), or make /tmp writable"
	case C.STEP_LEASE:
		ee.Action, ee.Hint = fmt.Sprintf("lock the holder's lease in %q", e.RuntimeDir+"/holder"), "check that its file system supports flock and has space"
	case C.STEP_NO_RANGES:
		ee.Action, ee.Err = "use --userns=subuid", why()
		ee.Hint = "install newuidmap and newgidmap and add a range for yourself to /etc/subuid and /etc/subgid, or use --userns=single" + moreInDoctor
	case C.STEP_HOLDER:
		ee.Action, ee.Err = "make the user namespace through the holder", why()
		ee.Hint = "--userns=single works without it" + moreInDoctor
	case C.STEP_JOIN:
		ee.Action, ee.Hint = "join the holder's user namespace", `run "sandbox system stop" and try again`
	case C.STEP_UNSHARE_USER:
		ee = CreateError(e.errno)
	case C.STEP_MAP:
		ee.Action = "write the id map of a user namespace"
		// Root with its capabilities does not come this way.
		ee = ee.explained(explainMap(e.CallerUID == 0))
	case C.STEP_RIGHTS:
		ee.Action = "use the rights of a user namespace"
		ee = ee.explained(ExplainRights())
	case C.STEP_UNSHARE_MOUNT:
		ee.Action = "create a mount namespace"
		ee = ee.explained(ExplainRights())
	case C.STEP_NOT_ROOT:
		ee.Action, ee.Hint = "use --userns=identity", "identity is for root: leave it out, or use sudo"
	case C.STEP_HOST_ROOT:
		ee.Action, ee.Cause = "enter a user namespace", onlyHostRoot
		ee.Hint = "start as an unprivileged user, or with these capabilities (docker: --cap-add SYS_ADMIN); --userns=identity accepts the host's root"
	case 0:
		ee.Err = errors.New("the command line was not understood before the start")
		ee.Hint = "write --userns=VALUE and --holder=VALUE as single words directly behind \"run\""
	}
	return ee
}
