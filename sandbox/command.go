package sandbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"sandbox.example/sandbox/runc"
)

// CommandError says why a command could not be run.
type CommandError struct {
	Name string // as given
	Code int    // 126: found but not executable; 127: not found
	Why  string
	Err  error
}

// Error is one line that names the command.
func (e *CommandError) Error() string { return fmt.Sprintf("run %q: %s", e.Name, e.Why) }

// Unwrap returns the system's error.
func (e *CommandError) Unwrap() error { return e.Err }

// commandError explains what pid 1 reported.
func (t *Task) commandError(err error) error {
	var ee *runc.ExecError
	if !errors.As(err, &ee) || ee.Step < runc.StepExec {
		return err
	}
	ce := &CommandError{Name: t.p.Args[0], Code: 126, Err: ee.Err}
	switch {
	case ee.Step == runc.StepInterp:
		ce.Code = 127
		ce.Why = fmt.Sprintf("its interpreter %q was not found in the root", t.interpreter(ee))
	case ee.Err == syscall.ENOENT || ee.Err == syscall.ENOTDIR:
		ce.Code = 127
		ce.Why = "not found in the root"
		if !strings.Contains(ce.Name, "/") {
			ce.Why = "not found in $PATH of the sandbox"
		}
	case ee.Err == syscall.EACCES && t.isDir(ee.Path):
		ce.Why = "is a directory"
	case ee.Err == syscall.EACCES:
		ce.Why = "permission denied: it is not executable for the process's user"
	case ee.Err == syscall.ENOEXEC:
		ce.Why = "exec format error: neither a program for this machine nor a script that begins with #!"
	default:
		ce.Why = ee.Err.Error()
	}
	return ce
}

// isDir looks up path as the process saw it.
func (t *Task) isDir(path string) bool {
	if !strings.HasPrefix(path, "/") {
		path = t.sb.cwd + "/" + path
	}
	f, err := openInRoot(t.sb.root, path, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// interpreter finds out what the file asked for: the first word behind "#!",
// or the loader that an ELF file names. The file is anybody's: every number in
// it is checked.
func (t *Task) interpreter(ee *runc.ExecError) string {
	if rest, ok := bytes.CutPrefix(ee.Head, []byte("#!")); ok {
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		if f := bytes.Fields(line); len(f) > 0 {
			return string(f[0])
		}
	}
	if name, err := t.elfInterpreter(ee); err == nil {
		return name
	}
	return "?"
}

func (t *Task) elfInterpreter(ee *runc.ExecError) (string, error) {
	const headerSize, entrySize, ptInterp = 64, 56, 3 // ELF64, elf(5)
	h := ee.Head
	if len(h) < headerSize || !bytes.HasPrefix(h, []byte("\x7fELF\x02\x01")) {
		return "", errors.New("not a 64-bit ELF file")
	}
	le := binary.LittleEndian
	first, count := le.Uint64(h[32:]), int(le.Uint16(h[56:]))
	for i := range count {
		at := first + uint64(i*entrySize)
		if at > uint64(len(h)-entrySize) {
			break
		}
		e := h[at:]
		if le.Uint32(e) != ptInterp {
			continue
		}
		offset, size := le.Uint64(e[8:]), le.Uint64(e[32:])
		if offset > 1<<20 || size == 0 || size > unix.PathMax {
			break
		}
		return t.readAt(ee.Path, int64(offset), int(size))
	}
	return "", errors.New("it names no loader")
}

func (t *Task) readAt(path string, offset int64, size int) (string, error) {
	if !strings.HasPrefix(path, "/") {
		path = t.sb.cwd + "/" + path
	}
	f, err := openInRoot(t.sb.root, path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return "", os.ErrInvalid
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, offset); err != nil {
		return "", err
	}
	return strings.TrimRight(string(b), "\x00"), nil
}
