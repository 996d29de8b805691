// Package pty makes pseudo-terminals, keeps their sizes equal, and puts the
// caller's own terminal into raw mode and back.
//
// Open makes the terminal of a sandbox, on the sandbox's own devpts; Output
// makes one that only stands in for a terminal on stdout or stderr.
package pty

import (
	"errors"
	"fmt"
	"os"

	creack "github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Size is the size of a terminal in characters. The zero Size is unknown.
type Size struct {
	Rows uint16 `json:"rows"`
	Cols uint16 `json:"cols"`
}

// SizeOf returns the size of the terminal f.
func SizeOf(f *os.File) (Size, error) {
	var s Size
	err := control(f, func(fd int) error {
		ws, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		if err == nil {
			s = Size{Rows: ws.Row, Cols: ws.Col}
		}
		return os.NewSyscallError("ioctl(TIOCGWINSZ)", err)
	})
	if err != nil {
		return Size{}, fmt.Errorf("get the size of terminal %q: %w", f.Name(), err)
	}
	return s, nil
}

// Resize sets the size of the terminal f, either side of it; the kernel sends
// SIGWINCH to its foreground process group when the size changes.
func Resize(f *os.File, s Size) error {
	err := control(f, func(fd int) error {
		ws := &unix.Winsize{Row: s.Rows, Col: s.Cols}
		return os.NewSyscallError("ioctl(TIOCSWINSZ)", unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, ws))
	})
	if err != nil {
		return fmt.Errorf("set the size of terminal %q: %w", f.Name(), err)
	}
	return nil
}

// control calls do with f's descriptor, which stays open and in its mode
// meanwhile: creack/pty's own calls use File.Fd, which makes a terminal
// blocking and races with Close.
func control(f *os.File, do func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var derr error
	err = conn.Control(func(fd uintptr) { derr = do(int(fd)) })
	return errors.Join(err, derr)
}

// IsTerminal reports whether f is a terminal.
func IsTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// Open makes a terminal on the devpts whose ptmx is open as ptmx, which
// becomes the master: the caller closes both. Unlike posix_openpt it opens no
// path, so it works on a devpts that is not ours (TIOCGPTPEER, Linux 4.13).
func Open(ptmx *os.File) (slave *os.File, err error) {
	if err := unix.IoctlSetPointerInt(int(ptmx.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return nil, fmt.Errorf("unlock a new terminal: %w", os.NewSyscallError("ioctl(TIOCSPTLCK)", err))
	}
	const flags = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, ptmx.Fd(), unix.TIOCGPTPEER, flags)
	if errno != 0 {
		return nil, fmt.Errorf("open the terminal of a master: %w", os.NewSyscallError("ioctl(TIOCGPTPEER)", errno))
	}
	return os.NewFile(fd, "pts"), nil
}

// Output makes a terminal with output processing off: what is written to the
// slave arrives at the master byte for byte. It is nobody's controlling
// terminal. The caller closes both.
func Output(s Size) (master, slave *os.File, err error) {
	master, slave, err = creack.Open()
	if err != nil {
		return nil, nil, fmt.Errorf("open a terminal: %w", err)
	}
	err = setOutputRaw(slave)
	if err == nil && s != (Size{}) {
		err = Resize(slave, s)
	}
	if err != nil {
		return nil, nil, errors.Join(err, master.Close(), slave.Close())
	}
	return master, slave, nil
}

func setOutputRaw(f *os.File) error {
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return os.NewSyscallError("ioctl(TCGETS)", err)
	}
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO
	return os.NewSyscallError("ioctl(TCSETS)", unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t))
}

// MakeRawOutput turns output processing off on the terminal f and leaves its
// input as it is. restore is as with MakeRaw.
func MakeRawOutput(f *os.File) (restore func() error, err error) {
	fd := int(f.Fd())
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err == nil {
		now := *old
		now.Oflag &^= unix.OPOST
		err = unix.IoctlSetTermios(fd, unix.TCSETS, &now)
	}
	if err != nil {
		return nil, fmt.Errorf("turn off output processing of terminal %q: %w", f.Name(), err)
	}
	return func() error {
		if err := unix.IoctlSetTermios(fd, unix.TCSETS, old); err != nil {
			return fmt.Errorf("restore terminal %q: %w", f.Name(), err)
		}
		return nil
	}, nil
}

// MakeRaw puts the terminal f into raw mode. restore puts back what was there,
// may be called more than once and from a signal handler's goroutine.
func MakeRaw(f *os.File) (restore func() error, err error) {
	fd := int(f.Fd())
	old, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("put terminal %q into raw mode: %w", f.Name(), err)
	}
	return func() error {
		if err := term.Restore(fd, old); err != nil {
			return fmt.Errorf("restore terminal %q: %w", f.Name(), err)
		}
		return nil
	}, nil
}
