package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Options says how to unpack. The zero value is the safe default.
type Options struct {
	Limits Limits

	// NoSetid drops the setuid and setgid bits of everything but directories.
	// They are kept otherwise: a root needs them, and it lives in a directory
	// that only its user can enter. Set it where neither is so.
	NoSetid bool

	// Capabilities applies security.capability attributes: programs then have
	// the file capabilities that the archive gives them. Ignored otherwise.
	Capabilities bool
}

// Stats says what Unpack did.
type Stats struct {
	Entries int   // entries of the archive
	Bytes   int64 // sum of the sizes of the files made, holes included

	// Skipped names the first devices and entries of unknown type, which are
	// never made; SkippedTotal counts all of them.
	Skipped      []string
	SkippedTotal int

	// UnmappedOwners counts entries whose owner or group the user namespace
	// does not have, or that we may not give away: the id stays ours, and the
	// setuid or setgid bit that belonged to it is dropped.
	UnmappedOwners int

	// IgnoredXattrs counts extended attributes not applied: other than user.*,
	// or not possible on this file or file system.
	IgnoredXattrs int
}

// Unpack fills dir, an empty directory open for reading, with the contents of
// the tar archive that r holds, plain or compressed; what it is shows in its
// first bytes. It reads r to its end, and neither closes r nor dir. The package
// comment says what becomes of which entry.
//
// It stops with the cause of ctx when that is done, also while it waits for a
// pipe, socket or terminal if r is an open *os.File. After any error, except
// one that says dir is not usable, dir is empty again.
//
// The calling process must be the only one that changes dir. With the default
// limits it takes at most 16 MiB of memory, besides the window of the
// compression (zstd 128 MiB, xz 64 MiB).
func Unpack(ctx context.Context, dir *os.File, r io.Reader, opt Options) (Stats, error) {
	opt.Limits = opt.Limits.withDefaults()
	if err := checkEmpty(dir); err != nil {
		return Stats{}, fmt.Errorf("unpack into %q: %w", dir.Name(), err)
	}
	in, releaseInput, err := interruptible(ctx, r)
	if err != nil {
		return Stats{}, err
	}
	defer releaseInput()
	var compressed int64
	br := bufio.NewReaderSize(readFunc(func(p []byte) (int, error) {
		n, err := in.Read(p)
		compressed += int64(n)
		return n, err
	}), 64<<10)
	plain, compression, releaseDecoder, err := decompress(br)
	if err != nil {
		return Stats{}, err
	}
	defer releaseDecoder()
	src := &stream{r: plain, ratio: opt.Limits.Ratio, ratioFree: opt.Limits.RatioFree}
	if compression != "" {
		src.compressed = &compressed
		src.r = bufio.NewReaderSize(readFunc(func(p []byte) (int, error) {
			if ctx.Err() != nil { // one byte of input can be a lot of output
				return 0, context.Cause(ctx)
			}
			n, err := plain.Read(p)
			if err != nil && err != io.EOF && ctx.Err() == nil {
				err = fmt.Errorf("decompress %s: %w", compression, decodeError(err))
			}
			return n, err
		}), 64<<10)
	}
	u := &unpacker{
		root:   int(dir.Fd()),
		opt:    opt,
		src:    src,
		tar:    tar.NewReader(src),
		buf:    make([]byte, chunkSize),
		parent: parentDir{fd: -1},
	}
	err = u.unpack(ctx)
	if err == nil {
		return u.stats, nil
	}
	if removeErr := RemoveContents(dir); removeErr != nil {
		err = and(err, fmt.Errorf("remove what was unpacked: %w", removeErr))
	}
	return Stats{}, err
}

// checkEmpty refuses a directory with something in it: it would be mixed with
// the archive, and removed with it after an error.
func checkEmpty(dir *os.File) error {
	fd, err := openat(int(dir.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	d := os.NewFile(uintptr(fd), dir.Name())
	defer d.Close()
	switch _, err := d.Readdirnames(1); {
	case err == nil:
		return errors.New("the directory is not empty")
	case err != io.EOF:
		return err
	}
	return nil
}

// unpacker is one run of Unpack.
type unpacker struct {
	root   int // borrowed
	opt    Options
	src    *stream
	tar    *tar.Reader
	buf    []byte
	parent parentDir
	stats  Stats

	used    int64       // bytes of content so far, of skipped entries too
	counted int         // entries and parents made so far
	last    string      // name of the latest entry
	rootHdr *tar.Header // the latest entry for the root itself
}

// unpack makes every entry, and then reads what is left of the archive.
func (u *unpacker) unpack(ctx context.Context) (err error) {
	defer func() { err = and(err, u.leave()) }()
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		h, err := u.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return u.readError(ctx, err)
		}
		u.last = h.Name
		if err := u.entry(ctx, h); err != nil {
			return fmt.Errorf("unpack %s: %w", quote(h.Name), err)
		}
	}
	if err := u.drain(ctx); err != nil {
		return err
	}
	return u.finishRoot()
}

// next reads the next header. io.EOF means that the archive has ended as it
// should.
func (u *unpacker) next() (*tar.Header, error) {
	u.src.startHeader(u.opt.Limits.HeaderBytes)
	h, err := u.tar.Next()
	u.src.endHeader()
	switch {
	case err == io.EOF:
		// Two blocks of zeros end an archive; one is tolerated, as elsewhere.
		if u.src.zeros < blockSize {
			return nil, io.ErrUnexpectedEOF
		}
		return nil, io.EOF
	case errors.Is(err, tar.ErrInsecurePath):
		// A setting in $GODEBUG makes archive/tar say so. We judge names ourselves.
	case err != nil:
		return nil, err
	}
	if err := u.count(); err != nil {
		return nil, err
	}
	u.stats.Entries++
	return h, nil
}

// count counts something that the archive makes us make.
func (u *unpacker) count() error {
	if u.counted >= u.opt.Limits.Entries {
		return overLimit("number of entries", int64(u.opt.Limits.Entries))
	}
	u.counted++
	return nil
}

// readError explains why there is no next entry.
func (u *unpacker) readError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, tar.ErrFieldTooLong):
		err = overLimit("size of an entry's headers", 1<<20)
	case u.stats.Entries == 0 && errors.Is(err, tar.ErrHeader):
		return errors.New("read the archive: it is not a tar archive, plain or compressed with gzip, zstd or xz")
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("it ends without an end mark, so it is truncated: %w", err)
	}
	if u.stats.Entries == 0 {
		return fmt.Errorf("read the archive: %w", err)
	}
	return fmt.Errorf("read the archive after %s: %w", quote(u.last), err)
}

// drain reads the archive to its end: a checksum may follow, and whoever writes
// to us should not find the pipe closed.
func (u *unpacker) drain(ctx context.Context) error {
	var n int64
	for {
		k, err := u.src.Read(u.buf)
		if len(bytes.TrimRight(u.buf[:k], "\x00")) > 0 {
			return errors.New("read the archive: data follows its end: unpack one archive at a time")
		}
		if n += int64(k); n > maxPadding {
			return fmt.Errorf("read the archive: %w", overLimit("zeros after its end", maxPadding))
		}
		switch {
		case err == io.EOF:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return fmt.Errorf("read the archive after its end: %w", err)
		}
	}
}

// finishRoot applies the entry for the root itself, if there was one. It is
// last, so that a bad archive changes nothing of the directory.
func (u *unpacker) finishRoot() error {
	if err := u.leave(); err != nil || u.rootHdr == nil {
		return err
	}
	fd, err := openat(u.root, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	if err := and(u.metadata(fd, unix.S_IFDIR, u.rootHdr), closeFD(fd)); err != nil {
		return fmt.Errorf("unpack %s: %w", quote(u.rootHdr.Name), err)
	}
	return nil
}
