package runc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
)

// The exchange with pid 1 is drawn in sandbox/stage/c/pid1.c; the numbers here
// and there are the same.
const (
	bootMagic = 0x31444950

	bootTTY       = 1 // flags of the boot message
	bootDirect    = 2
	bootFilterAll = 4

	cmdSignal   = 1
	signalGroup = 0x100

	eventStarted = 1
	eventFailed  = 2
	eventExited  = 3

	firstFile = 5 // descriptors from here on are the command's
)

// Step is where pid 1 stopped when it could not run the command.
type Step uint32

// The steps of pid 1, in their order.
const (
	StepBoot    Step = iota + 1 // reading the boot message
	StepFiles                   // placing descriptors
	StepFilter                  // installing the seccomp filter
	StepSession                 // setsid
	StepTTY                     // taking the controlling terminal
	StepFork                    // fork
	StepLimits                  // setting resource limits
	StepExec                    // execve: the command
	StepInterp                  // execve: the command's interpreter is missing
)

var stepNames = [...]string{"", "read the boot message", "place descriptors", "install the seccomp filter",
	"start a session", "take the controlling terminal", "fork", "set a resource limit", "execute", "execute the interpreter of"}

// ExecError says that the command could not be run.
type ExecError struct {
	Step Step
	Err  syscall.Errno
	Path string // StepExec: the last path tried; StepInterp: the file
	Head []byte // StepInterp: the beginning of the file
}

// Error names the step and the path.
func (e *ExecError) Error() string {
	name := "run pid 1"
	if int(e.Step) < len(stepNames) {
		name = stepNames[e.Step]
	}
	if e.Path != "" {
		return fmt.Sprintf("%s %q: %v", name, e.Path, e.Err)
	}
	return fmt.Sprintf("%s: %v", name, e.Err)
}

// Unwrap returns the system's error.
func (e *ExecError) Unwrap() error { return e.Err }

// bootMessage encodes p, and returns the files in the order in which they must
// be passed, from descriptor 5 on.
func bootMessage(p Process) ([]byte, []*os.File, error) {
	for _, s := range slices.Concat(p.Args, p.Env) {
		if strings.IndexByte(s, 0) >= 0 {
			return nil, nil, fmt.Errorf("argument or variable %q: contains NUL", s)
		}
	}
	var flags uint32
	for bit, on := range map[uint32]bool{bootTTY: p.TTY, bootDirect: p.Direct, bootFilterAll: p.FilterAll} {
		if on {
			flags |= bit
		}
	}
	numbers := make([]int, 0, len(p.Files))
	for n := range p.Files {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	files := make([]*os.File, len(numbers))

	le := binary.LittleEndian
	var body []byte
	for _, l := range p.Rlimits {
		for _, v := range []uint64{uint64(l.Type), l.Soft, l.Hard} {
			body = le.AppendUint64(body, v)
		}
	}
	for i, n := range numbers {
		files[i] = p.Files[n]
		body = le.AppendUint32(body, uint32(firstFile+i))
		body = le.AppendUint32(body, uint32(n))
	}
	body = append(body, p.Filter...)
	for _, s := range slices.Concat(p.Args, p.Env) {
		body = append(append(body, s...), 0)
	}
	var msg []byte
	for _, v := range []int{bootMagic, len(body), int(flags), len(p.Args), len(p.Env), len(files), len(p.Filter) / 8, p.Umask, len(p.Rlimits)} {
		msg = le.AppendUint32(msg, uint32(v))
	}
	return append(msg, body...), files, nil
}

// event is one report of pid 1.
type event struct {
	kind, value uint32
	step        Step
	data        []byte
}

func readEvent(r io.Reader) (event, error) {
	var h [16]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return event{}, err
	}
	le := binary.LittleEndian
	e := event{kind: le.Uint32(h[:]), value: le.Uint32(h[4:]), step: Step(le.Uint32(h[8:]))}
	n := le.Uint32(h[12:])
	if n > 4096+256 {
		return event{}, errors.New("pid 1 sent a report that is too long")
	}
	e.data = make([]byte, n)
	_, err := io.ReadFull(r, e.data)
	return e, err
}

// failure turns a failed report into the error that callers see.
func (e event) failure() *ExecError {
	out := &ExecError{Step: e.step, Err: syscall.Errno(e.value), Path: string(e.data)}
	if e.step == StepInterp {
		path, head, _ := strings.Cut(string(e.data), "\x00")
		out.Path, out.Head = path, []byte(head)
	}
	return out
}
