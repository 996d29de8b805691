package cli

import (
	"errors"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/docker/go-units"

	"sandbox.example/sandbox"
)

const (
	// maxPathBytes is the kernel's PATH_MAX without its NUL.
	maxPathBytes = 4095
	// maxID is the largest uid or gid: one more is (uid_t)-1, which means
	// "leave it" to the kernel.
	maxID = math.MaxUint32 - 1
	// maxSizeBytes is what no file system of today can hold.
	maxSizeBytes = 1 << 60
)

// parseSize parses a number of bytes, at least one, such as 4096, 64m, 1.5GiB.
// Units are powers of 1024 in any case, as docker has them.
func parseSize(s string) (int64, error) {
	if strings.HasSuffix(s, "%") {
		return 0, fmt.Errorf("size %q: percents are not supported; write a size such as 64m", s)
	}
	notASize := fmt.Errorf("size %q: not a size such as 64m", s)
	unit := strings.TrimLeft(s, "0123456789.")
	// The library would take exponents, signs and hexadecimal numbers, too.
	if len(unit) == len(s) || strings.ContainsAny(unit, "0123456789.+-_") {
		return 0, notASize
	}
	size, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		// It goes through floating point; whole numbers must not.
		if size, err = units.RAMInBytes(s); err != nil {
			return 0, notASize
		}
	}
	if size < 0 || size > maxSizeBytes {
		return 0, fmt.Errorf("size %q: more than 1024 PiB", s)
	}
	if size == 0 {
		return 0, fmt.Errorf("size %q: less than one byte", s)
	}
	return size, nil
}

// parseDuration parses a positive duration in Go's syntax that may begin with
// days, such as 90s, 1h30m, 7d, 1d12h.
func parseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("duration %q: not a duration such as 90s, 12h or 7d", s)
	if strings.HasPrefix(s, "+") || strings.HasPrefix(s, "-") {
		return 0, bad
	}
	var total time.Duration
	rest := s
	if days, after, found := strings.Cut(s, "d"); found {
		n, err := strconv.ParseUint(days, 10, 32)
		if err != nil || strings.HasPrefix(after, "+") || strings.HasPrefix(after, "-") {
			return 0, bad
		}
		if n > uint64(math.MaxInt64/(24*time.Hour)) {
			return 0, fmt.Errorf("duration %q: more than 292 years", s)
		}
		total, rest = time.Duration(n)*24*time.Hour, after
	}
	if rest != "" || s == "" {
		d, err := time.ParseDuration(rest)
		if err != nil {
			return 0, bad
		}
		if total > math.MaxInt64-d {
			return 0, fmt.Errorf("duration %q: more than 292 years", s)
		}
		total += d
	}
	if total <= 0 {
		return 0, fmt.Errorf("duration %q: not longer than nothing", s)
	}
	return total, nil
}

// parseNumericID parses a uid or gid; what names it in the error.
func parseNumericID(what, s string) (int, error) {
	n, ok := parseDigits(s, maxID)
	if !ok {
		return 0, fmt.Errorf("%s %q: not a number from 0 to %d", what, s, maxID)
	}
	return n, nil
}

// parseCount parses a number that is at least one; what names it in the error.
func parseCount(what, s string) (int, error) {
	n, ok := parseDigits(s, math.MaxInt32)
	if !ok || n == 0 {
		return 0, fmt.Errorf("%s %q: not a number from 1 to %d", what, s, math.MaxInt32)
	}
	return n, nil
}

// parseDigits parses a decimal number without sign or blanks, at most limit.
func parseDigits(s string, limit uint64) (int, bool) {
	if strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || n > limit {
		return 0, false
	}
	return int(n), true
}

// checkFileMode refuses bits that a secret or socket cannot have.
func checkFileMode(mode sandbox.Mode) error {
	if mode > 0o777 {
		return fmt.Errorf("mode %q: setuid, setgid and sticky bits have no meaning here", mode)
	}
	return nil
}

// parseTarget returns the cleaned form of the place of a mount. A relative one
// stays relative and may begin with "..".
func parseTarget(s string) (string, error) {
	if err := checkPath(s); err != nil {
		return "", fmt.Errorf("invalid mount target %q: %w", s, err)
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return "", fmt.Errorf("invalid mount target %q: it has a control character", s)
	}
	cleaned := path.Clean(s)
	if cleaned == "/" {
		return "", fmt.Errorf("invalid mount target %q", s)
	}
	return cleaned, nil
}

// checkPath refuses what cannot be a path, or not in our records, which are
// JSON.
func checkPath(s string) error {
	switch {
	case s == "":
		return errors.New("it is empty")
	case len(s) > maxPathBytes:
		return fmt.Errorf("it is longer than %d bytes", maxPathBytes)
	case strings.ContainsRune(s, 0):
		return errors.New("it has a NUL byte")
	case !utf8.ValidString(s):
		return errors.New("it is not valid UTF-8")
	}
	return nil
}

// parseHostPath returns s itself: cleaning it would change its meaning where a
// directory is a symlink.
func parseHostPath(what, s string) (string, error) {
	if err := checkPath(s); err != nil {
		return "", fmt.Errorf("%s %q: %w", what, s, err)
	}
	return s, nil
}

// cleanSubPath returns s as a path inside of a root, without a leading slash:
// ".." at the top goes nowhere. The root itself is "".
func cleanSubPath(s string) string {
	return path.Clean("/" + s)[1:]
}

// checkName refuses ids and names that could not be shown or stored.
func checkName(what, s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%s is empty", what)
	case len(s) > 255:
		return fmt.Errorf("%s %q: longer than 255 bytes", what, s)
	case !utf8.ValidString(s):
		return fmt.Errorf("%s %q: not valid UTF-8", what, s)
	case strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("%s %q: it has a control character", what, s)
	}
	return nil
}

// checkVariableName refuses names that no environment can hold or that would
// be a typing error. What was meant as a name may be a value, so the error
// shows it only up to the first strange character.
func checkVariableName(name string) error {
	if name == "" {
		return errors.New("no variable name")
	}
	if !utf8.ValidString(name) {
		return errors.New("variable name: not valid UTF-8")
	}
	at := strings.IndexFunc(name, func(r rune) bool {
		return r == '=' || r == ' ' || !unicode.IsPrint(r)
	})
	if at >= 0 {
		return fmt.Errorf("variable name %q: a blank, = or invisible character follows", name[:at])
	}
	return nil
}
