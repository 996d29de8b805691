package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"sandbox.example/sandbox"
)

// result is the content of --result-file.
type result struct {
	ExitCode int    `json:"exitCode"`
	Signal   string `json:"signal,omitempty"` // "SIGKILL", when one killed the command
	// Reason is exit, signal, timeout, denied or internal: the last two say
	// that the command did not run.
	Reason string `json:"reason"`
	Error  string `json:"error,omitempty"` // denied, internal: our message
}

// resultFile is written when the run is over, as a whole or not at all.
type resultFile struct {
	dir  *os.File
	name string
}

// newResultFile opens the directory of path: a directory that cannot be
// written to is known before anything runs.
func newResultFile(path string) (*resultFile, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err == nil {
		err = unix.Faccessat(int(dir.Fd()), ".", unix.W_OK, unix.AT_EACCESS)
	}
	if err != nil {
		return nil, fmt.Errorf("write result file %q: %w", path, err)
	}
	return &resultFile{dir, filepath.Base(path)}, nil
}

func (r *resultFile) write(runErr error) error {
	defer r.dir.Close()
	out := result{ExitCode: exitCode(runErr), Reason: string(sandbox.ReasonExit)}
	var exit *sandbox.ExitError
	switch {
	case runErr == nil:
	case errors.As(runErr, &exit):
		out.Reason = string(exit.Reason)
		if exit.Signal != 0 {
			out.Signal = unix.SignalName(exit.Signal)
		}
	case errors.Is(runErr, sandbox.ErrDenied):
		out.Reason, out.Error = "denied", runErr.Error()
	default:
		out.Reason, out.Error = "internal", runErr.Error()
	}
	b, err := json.Marshal(out)
	if err != nil {
		return err
	}
	return writeFileAt(r.dir, r.name, append(b, '\n'))
}

// writeFileAt replaces name in dir: temp, fsync, rename.
func writeFileAt(dir *os.File, name string, content []byte) error {
	tmp := fmt.Sprintf(".%s.%d", name, os.Getpid())
	fd, err := unix.Openat(int(dir.Fd()), tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return &os.PathError{Op: "create", Path: tmp, Err: err}
	}
	f := os.NewFile(uintptr(fd), tmp)
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = unix.Renameat(int(dir.Fd()), tmp, int(dir.Fd()), name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write result file %q: %w", name, err), unix.Unlinkat(int(dir.Fd()), tmp, 0))
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// checkSandboxName tells whether name can be a sandbox's or a host's name.
func checkSandboxName(name string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	if len(name) == 0 || len(name) > 63 || strings.Trim(name, letters+"_.-") != "" || !strings.Contains(letters, name[:1]) {
		return errors.New("a name is 1 to 63 of [a-zA-Z0-9_.-] and begins with a letter or digit")
	}
	return nil
}
