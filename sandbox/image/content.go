package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

const (
	blockSize = 512       // of tar
	holeSize  = 4 << 10   // zeros become holes in units of this
	chunkSize = 256 << 10 // read and written at once; a multiple of holeSize
)

// content writes the content of the current entry to fd, an empty file.
// Blocks of zeros are not written: the archive's own holes come as zeros too,
// and a few kilobytes of archive can stand for terabytes of them.
func (u *unpacker) content(ctx context.Context, fd int) error {
	var size, written int64
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, readErr := io.ReadFull(u.tar, u.buf)
		if err := writeData(fd, u.buf[:n], size, &written); err != nil {
			return err
		}
		size += int64(n)
		switch readErr {
		case nil:
			continue
		case io.EOF, io.ErrUnexpectedEOF:
			// ReadFull says ErrUnexpectedEOF for a chunk that is not full, and for
			// an archive that ends too soon, which the tar reader repeats.
			if _, err := u.tar.Read(u.buf[:1]); err != io.EOF {
				return contentError(ctx, err)
			}
		default:
			return contentError(ctx, readErr)
		}
		if size > written { // it ends in a hole
			return call("ftruncate", func() error { return unix.Ftruncate(fd, size) })
		}
		return nil
	}
}

// contentError explains why the content of an entry cannot be read.
func contentError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the archive ends inside of it, so it is truncated: %w", err)
	}
	return fmt.Errorf("read its content: %w", err)
}

// writeData writes p at off, but for its holes, and stores in *end where the
// latest byte written ends.
func writeData(fd int, p []byte, off int64, end *int64) error {
	for len(p) > 0 {
		hole := 0
		for hole < len(p) && isZero(p[hole:min(hole+holeSize, len(p))]) {
			hole += holeSize
		}
		hole = min(hole, len(p))
		p, off = p[hole:], off+int64(hole)
		data := 0
		for data < len(p) && !isZero(p[data:min(data+holeSize, len(p))]) {
			data += holeSize
		}
		for left := p[:min(data, len(p))]; len(left) > 0; {
			var n int
			err := call("pwrite", func() (err error) {
				n, err = unix.Pwrite(fd, left, off)
				return err
			})
			if err != nil {
				return err
			}
			if n == 0 {
				return fmt.Errorf("pwrite: %w", io.ErrShortWrite)
			}
			p, left, off = p[n:], left[n:], off+int64(n)
			*end = off
		}
	}
	return nil
}

// isZero reports whether p, which is not empty, holds nothing but zeros.
func isZero(p []byte) bool {
	return p[0] == 0 && bytes.Equal(p[1:], p[:len(p)-1])
}
