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

import "syscall"

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
	Standalone bool   // RuntimeDir is for this run alone: see Leave
	Why        string // why there is one id only, when there is
	Broken     bool   // Why is about something that is there and fails

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
		Broken:     e.broken != 0,
		step:       int(e.step),
		errno:      syscall.Errno(e.err),
	}
}

// lastStep is the last of the steps in enter.h.
const lastStep = C.STEP_HOST_ROOT

// Inherited reports whether descriptor fd, which a --fd flag names, was open
// when this process started: by now a descriptor of our own may have its
// number.
func Inherited(fd int) bool {
	e := &C.sandbox_entry
	return fd >= 0 && fd < len(e.inherited)*8 && e.inherited[fd/8]&(1<<(fd%8)) != 0
}
