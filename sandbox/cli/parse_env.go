package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Values of variables may be secrets: no error here ever shows one.

const (
	// maxEnvLine is the kernel's MAX_ARG_STRLEN: no longer variable could be
	// given to a process.
	maxEnvLine = 128 << 10
	// maxEnvFile is more than the kernel takes for all arguments and
	// variables together (6 MiB), and ends a file that never ends.
	maxEnvFile = 8 << 20
)

// parseEnvFlag parses the value of -e. KEY=VALUE is returned as it is. KEY
// alone is looked up with lookup and returned as KEY=VALUE; found is false, and
// the entry KEY, when there is no such variable.
func parseEnvFlag(flag string, lookup func(string) (string, bool)) (entry string, found bool, err error) {
	name, value, hasValue := strings.Cut(flag, "=")
	if err := checkVariableName(name); err != nil {
		return "", false, fmt.Errorf("environment variable: %w; write KEY=VALUE or KEY", err)
	}
	if !hasValue {
		if value, found = lookup(name); !found {
			return name, false, nil
		}
	}
	if err := checkVariableValue(name, value); err != nil {
		return "", false, fmt.Errorf("environment variable: %w", err)
	}
	return name + "=" + value, true, nil
}

// parseEnvFile parses the content of an --env-file by docker's rules and
// returns its variables as KEY=VALUE, in order, repeated ones too. Lines that
// are blank or begin with # are skipped; the rest of a line after the first =
// is the value, quotes and blanks included; KEY alone is copied through lookup,
// or skipped if it is not set. Errors name the line; the caller adds the file.
func parseEnvFile(r io.Reader, lookup func(string) (string, bool)) ([]string, error) {
	limited := &io.LimitedReader{R: r, N: maxEnvFile + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(make([]byte, 0, 4096), maxEnvLine)
	var entries []string
	number := 0
	for lines.Scan() {
		number++
		line := lines.Bytes()
		if number == 1 {
			line = bytes.TrimPrefix(line, []byte("\uFEFF"))
		}
		entry, err := parseEnvLine(line, lookup)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if entry != "" {
			entries = append(entries, entry)
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return nil, fmt.Errorf("line %d: longer than %d bytes", number+1, maxEnvLine)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read line %d: %w", number+1, err)
	}
	if limited.N == 0 {
		return nil, fmt.Errorf("more than %d bytes", maxEnvFile)
	}
	return entries, nil
}

// parseEnvLine returns the variable of one line, or "" if there is none.
func parseEnvLine(line []byte, lookup func(string) (string, bool)) (string, error) {
	if !utf8.Valid(line) {
		return "", errors.New("not valid UTF-8")
	}
	text := strings.TrimLeftFunc(string(line), unicode.IsSpace)
	if text == "" || text[0] == '#' {
		return "", nil
	}
	name, value, hasValue := strings.Cut(text, "=")
	if err := checkVariableName(name); err != nil {
		return "", err
	}
	if !hasValue {
		var found bool
		if value, found = lookup(name); !found {
			return "", nil
		}
	}
	return name + "=" + value, checkVariableValue(name, value)
}

func checkVariableValue(name, value string) error {
	if strings.ContainsRune(value, 0) {
		return fmt.Errorf("value of %q: it has a NUL byte", name)
	}
	return nil
}
