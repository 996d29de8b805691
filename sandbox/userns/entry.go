// Package userns finds the way into a user namespace, and keeps the one that
// rootlesskit made for the next command.
//
// A C constructor (enter.c) acts before the Go runtime starts, because only a
// process with one thread may change its user namespace. Entered tells what it
// did; IDs tells which ids exist there; Holder is the main function of the
// process that makes and keeps the namespace.
package userns

/*
#include "enter.h"
*/
import "C"

import (
	"fmt"
	"syscall"
)

// Way is how this process came to be root of a user namespace.
type Way int

// The ways in, in the order in which they are tried.
const (
	None   Way = iota // nothing was entered: the command did not need it
	Held              // the holder's namespace, with subuid ranges
	Root              // real root: the caller's own namespace
	Nested            // already root of a usable user namespace
	Single            // a namespace of this run with one id
	failed            // see Entry.Err
)

// String returns the word that inspect and doctor print.
func (w Way) String() string {
	switch w {
	case None:
		return "none"
	case Held:
		return "holder"
	case Root:
		return "root"
	case Nested:
		return "nested"
	case Single:
		return "single"
	}
	return "failed"
}

// Entry is what the constructor did for this process.
type Entry struct {
	Way        Way
	CallerUID  int    // the effective ids before entering
	CallerGID  int    //
	Userns     string // the value of --userns that it acted on
	Holder     string // the value of --holder that it acted on
	HolderPID  int    // of the holder joined, else 0
	RuntimeDir string // 0700, ours; sandboxes keep their state below it
	Standalone bool   // RuntimeDir is for this run alone: remove it at the end
	Why        string // why there is one id only, when there is

	step  int
	errno syscall.Errno
}

// Entered returns what the constructor did. It is fixed when main starts.
func Entered() Entry {
	e := &C.sandbox_entry
	return Entry{
		Way:        Way(e.way),
		CallerUID:  int(e.uid),
		CallerGID:  int(e.gid),
		Userns:     C.GoString(&e.userns[0]),
		Holder:     C.GoString(&e.holder[0]),
		HolderPID:  int(e.holder_pid),
		RuntimeDir: C.GoString(&e.runtime[0]),
		Standalone: e.standalone != 0,
		Why:        C.GoString(&e.message[0]),
		step:       int(e.step),
		errno:      syscall.Errno(e.err),
	}
}

// Inherited reports whether descriptor fd, which a --fd flag names, was open
// when this process started: by now a descriptor of our own may have its
// number.
func Inherited(fd int) bool {
	e := &C.sandbox_entry
	return fd >= 0 && fd < len(e.inherited)*8 && e.inherited[fd/8]&(1<<(fd%8)) != 0
}

// EnterError says why no way led into a user namespace. Its hint is what the
// caller, or an administrator, can do about it.
type EnterError struct {
	Action string // what was tried
	Err    error
	Hint   string
}

// Error is one line without the hint.
func (e *EnterError) Error() string { return fmt.Sprintf("%s: %v", e.Action, e.Err) }

// Unwrap returns the system's error.
func (e *EnterError) Unwrap() error { return e.Err }

// Err returns nil when a namespace was entered, else an *EnterError.
func (e Entry) Err() error {
	if e.Way != failed && e.Way != None {
		return nil
	}
	ee := &EnterError{Action: "enter a user namespace", Err: e.errno, Hint: `run "sandbox doctor"`}
	switch e.step {
	case C.STEP_PROC:
		ee.Action, ee.Hint = "read /proc/self/ns/user", "mount /proc; a kernel without user namespaces (CONFIG_USER_NS) cannot run sandboxes"
	case C.STEP_RUNTIME:
		ee.Action, ee.Hint = "make the runtime directory", "set XDG_RUNTIME_DIR to a directory that is yours alone (mode 0700), or make /tmp writable"
	case C.STEP_LEASE:
		ee.Action, ee.Hint = "lock the holder's lease in "+e.RuntimeDir+"/holder", "check that its file system supports flock and has space"
	case C.STEP_HOLDER:
		ee.Action = "make the user namespace through the holder"
		if e.Why != "" {
			ee.Err = fmt.Errorf("%s", e.Why)
		}
		ee.Hint = `install newuidmap and add a range for yourself to /etc/subuid and /etc/subgid, or use --userns=single; "sandbox doctor" tells more`
	case C.STEP_JOIN:
		ee.Action, ee.Hint = "join the holder's user namespace", `run "sandbox system stop" and try again`
	case C.STEP_UNSHARE_USER:
		ee.Action, ee.Hint = "create a user namespace", unshareHint(e.errno)
	case C.STEP_MAP:
		ee.Action, ee.Hint = "write the id map of a user namespace", restrictedHint()
	case C.STEP_UNSHARE_MOUNT:
		ee.Action, ee.Hint = "create a mount namespace", restrictedHint()
	case C.STEP_NOT_ROOT:
		ee.Action, ee.Hint = "use --userns=identity", "identity is for root with CAP_SYS_ADMIN: leave it out, or use sudo"
	case 0:
		ee.Err = fmt.Errorf("the command line was not understood before the start")
		ee.Hint = "write --userns=VALUE and --holder=VALUE as single words directly behind \"run\""
	}
	return ee
}
