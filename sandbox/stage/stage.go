// Package stage holds the small static program that plays every role which
// needs no Go: pid 1 of a sandbox, the watcher of a pid 1 that is the command
// itself, and the sleeping process that keeps the holder's user namespace.
// Its source is in the folder c, with the protocols drawn above the code.
package stage

import (
	_ "embed"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// program is made by the Makefile from c/*.c (no C library: about 10 kB).
//
//go:embed stage.elf
var program string

// mfdExec is MFD_EXEC of Linux 6.3; older kernels refuse it with EINVAL.
const mfdExec = 0x10

// ErrNoExec says that the host's vm.memfd_noexec=2 forbids to execute memfds.
var ErrNoExec = errors.New("vm.memfd_noexec is 2: executable memfds are refused")

// Open returns the program in a sealed memfd: nobody can change it, and it is
// executed as /proc/self/fd/N in any root. The caller closes it.
func Open() (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("sandbox-stage", flags|mfdExec)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate("sandbox-stage", flags)
	}
	if errors.Is(err, unix.EACCES) {
		return nil, ErrNoExec
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "sandbox-stage")
	if err := fill(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("prepare the stage program: %w", err)
	}
	return f, nil
}

func fill(f *os.File) error {
	if _, err := f.WriteString(program); err != nil {
		return err
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return os.NewSyscallError("fcntl(F_ADD_SEALS)", err)
	}
	return nil
}
