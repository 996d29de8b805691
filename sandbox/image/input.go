package image

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// readFunc is an io.Reader that is a function.
type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// interruptible returns a reader of r that ends with the cause of ctx once that
// is done. If r is an open pipe, terminal or socket, a Read that waits for data
// ends too; another reader that blocks is the caller's to stop. release must be
// called when the last Read has returned.
func interruptible(ctx context.Context, r io.Reader) (_ io.Reader, release func(), err error) {
	checked := readFunc(func(p []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return r.Read(p)
	})
	f, ok := r.(*os.File)
	if !ok || ctx.Done() == nil {
		return checked, func() {}, nil
	}
	info, err := f.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("read the archive: %w", err)
	}
	if info.Mode().IsRegular() {
		return checked, func() {}, nil
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, nil, fmt.Errorf("read the archive: %w", err)
	}
	// wake has no data ever: it becomes readable when its other end is closed.
	wake, wakeEnd, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("make a pipe: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { wakeEnd.Close() })
	release = func() {
		stop()
		wakeEnd.Close() // may be closed already, which is its purpose
		wake.Close()
	}
	wakeFD := int32(wake.Fd())
	waiting := readFunc(func(p []byte) (int, error) {
		var pollErr error
		err := conn.Control(func(fd uintptr) {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: wakeFD, Events: unix.POLLIN}}
			pollErr = retry(func() error {
				_, err := unix.Poll(fds, -1)
				return err
			})
		})
		if err == nil {
			err = pollErr
		}
		if err != nil {
			return 0, os.NewSyscallError("poll", err)
		}
		return checked.Read(p)
	})
	return waiting, release, nil
}

// stream is the plain archive on its way to the tar reader. It counts, and
// refuses what is over the limits.
type stream struct {
	r io.Reader

	n          int64  // bytes read
	compressed *int64 // bytes of the compressed archive read; nil if it is plain
	ratio      int64
	ratioFree  int64

	// While a header is read: how much of it may still come, and how many of
	// the latest bytes were zero (two blocks of zeros end an archive).
	header     bool
	headerLeft int64
	headerMax  int64
	zeros      int64
}

// startHeader must be called before the tar reader looks for the next entry.
// It may then read what the limit is for, and besides: the padding of the entry
// before, the header itself, and one block more where it is the end.
func (s *stream) startHeader(limit int64) {
	s.header, s.headerLeft, s.headerMax, s.zeros = true, limit+3*blockSize, limit, 0
}

func (s *stream) endHeader() { s.header = false }

func (s *stream) Read(p []byte) (int, error) {
	if s.header && len(p) > 0 {
		if s.headerLeft == 0 {
			return 0, overLimit("size of an entry's headers", s.headerMax)
		}
		p = p[:min(int64(len(p)), s.headerLeft)]
	}
	n, err := s.r.Read(p)
	s.n += int64(n)
	if s.header {
		s.headerLeft -= int64(n)
		if tail := int64(n - len(bytes.TrimRight(p[:n], "\x00"))); tail == int64(n) {
			s.zeros += tail
		} else {
			s.zeros = tail
		}
	}
	if s.compressed != nil && s.n > s.ratioFree && s.n/max(1, *s.compressed) >= s.ratio {
		return 0, overLimit("compression ratio", s.ratio)
	}
	return n, err
}
