package image

import (
	"errors"
	"fmt"
	"strconv"
)

// ErrLimit is wrapped by every error that says an archive is larger, deeper or
// more compressed than Limits allows.
var ErrLimit = errors.New("over the limit")

// Limits bounds what one archive may cost. A field that is zero or negative has
// its default. Time is bounded by the context.
type Limits struct {
	Bytes       int64 // sum of the sizes of all files, holes included; default 64 GiB
	Entries     int   // entries of the archive plus the parent directories they lack; default 2,000,000
	Depth       int   // parts of a name; default 256
	NameBytes   int   // length of a name or link target; default 4095, which is also the most
	HeaderBytes int64 // headers of one entry: pax records, extended attributes, long names and sparse maps; default 512 KiB, at most 2 MiB

	// Ratio is how many bytes one byte of a compressed archive may become, once
	// there are more than RatioFree of them. Defaults: 200 and 1 GiB.
	Ratio     int64
	RatioFree int64
}

// maxName is the longest path that the kernel takes, without its NUL.
const maxName = 4095

// maxPadding bounds the zeros that may follow the end of an archive: writers
// fill the last record, whose size is theirs to choose.
const maxPadding = 64 << 20

// maxSkippedNames bounds the names kept in Stats.Skipped.
const maxSkippedNames = 100

func (l Limits) withDefaults() Limits {
	setDefault(&l.Bytes, 64<<30)
	setDefault(&l.Entries, 2_000_000)
	setDefault(&l.Depth, 256)
	setDefault(&l.NameBytes, maxName)
	setDefault(&l.HeaderBytes, 512<<10)
	setDefault(&l.Ratio, 200)
	setDefault(&l.RatioFree, 1<<30)
	l.NameBytes = min(l.NameBytes, maxName)
	l.HeaderBytes = min(l.HeaderBytes, 2<<20) // archive/tar takes 1 MiB of records, and as much of a map
	return l
}

func setDefault[T int | int64](p *T, value T) {
	if *p <= 0 {
		*p = value
	}
}

// overLimit says which limit an archive exceeds.
func overLimit(what string, limit int64) error {
	return fmt.Errorf("%s: %w of %d", what, ErrLimit, limit)
}

// quote writes a name from an archive for an error: escaped, and not longer
// than a line.
func quote(name string) string {
	const most = 200
	if len(name) <= most {
		return strconv.Quote(name)
	}
	return strconv.Quote(name[:most]) + "..."
}
