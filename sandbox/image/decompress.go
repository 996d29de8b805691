package image

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/xi2/xz"
)

// What a decoder may remember of its output, and so hold in memory: what the
// xz and zstd programs accept without being told to take more.
const (
	maxXZDictionary = 64 << 20  // xz -9
	maxZstdWindow   = 128 << 20 // zstd --long
)

// peekSize is enough to see the magic of a tar header, at 257.
const peekSize = 512

// decompress looks at the first bytes of br and returns a reader of the plain
// archive, the name of the compression, "" for none, and what releases the
// decoder. The name of the archive's file plays no part.
func decompress(br *bufio.Reader) (r io.Reader, compression string, release func(), err error) {
	head, err := br.Peek(peekSize)
	if err != nil && err != io.EOF {
		return nil, "", nil, fmt.Errorf("read the archive: %w", err)
	}
	if len(head) == 0 {
		return nil, "", nil, errors.New("the archive is empty: it has 0 bytes")
	}
	release = func() {}
	// A tar archive has no magic at its start, where the name of its first
	// entry is: that name may look like anything.
	if len(head) > 262 && string(head[257:262]) == "ustar" {
		return br, "", release, nil
	}
	compression = sniff(head)
	switch compression {
	case "":
		return br, "", release, nil
	case "gzip":
		r, err = gzip.NewReader(br)
	case "xz":
		r, err = xz.NewReader(br, maxXZDictionary)
	case "zstd":
		var d *zstd.Decoder
		// One at a time: no goroutines, and the memory of one window.
		d, err = zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err == nil {
			r, release = d, d.Close
		}
	default:
		return nil, "", nil, fmt.Errorf("the archive is %s data, which is not supported: repack it as tar, plain or with gzip, zstd or xz", compression)
	}
	if err != nil {
		return nil, "", nil, fmt.Errorf("decompress %s: %w", compression, decodeError(err))
	}
	return r, compression, release, nil
}

// sniff names the compression or format whose magic head begins with, "" if
// there is none.
func sniff(head []byte) string {
	for _, m := range []struct{ magic, name string }{
		{"\x1f\x8b", "gzip"},
		{"\x28\xb5\x2f\xfd", "zstd"},
		{"\xfd7zXZ\x00", "xz"},
		{"BZh", "bzip2"},
		{"\x04\x22\x4d\x18", "lz4"},
		{"LZIP", "lzip"},
		{"\x5d\x00\x00", "lzma"},
		{"\x1f\x9d", "compress"},
		{"PK\x03\x04", "zip"},
		{"7z\xbc\xaf\x27\x1c", "7z"},
		{"070701", "cpio"},
		{"\x7fELF", "ELF"},
		{"hsqs", "squashfs"},
	} {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.name
		}
	}
	// A zstd stream may begin with a frame to skip, of sixteen kinds.
	if len(head) >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18" {
		return "zstd"
	}
	return ""
}

// decodeError gives the limits of the decoders the name that callers look for.
func decodeError(err error) error {
	switch {
	case errors.Is(err, xz.ErrMemlimit):
		return overLimit("dictionary size", maxXZDictionary)
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return overLimit("window size", maxZstdWindow)
	}
	return err
}
