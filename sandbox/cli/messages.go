package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"sandbox.example/sandbox"
	"sandbox.example/sandbox/userns"
)

// The exit codes that are ours; every other one is the command's own.
const (
	codeTimeout  = 124
	codeInternal = 125
)

// messages writes what we say ourselves, one line each, to stderr.
type messages struct {
	mu      sync.Mutex
	w       io.Writer
	quiet   bool
	verbose bool
	json    bool
	newline string // "\r\n" while the terminal is raw
}

// message is a line of --log-format json.
type message struct {
	Level string `json:"level"`
	Text  string `json:"msg"`
	Hint  string `json:"hint,omitempty"`
	Usage string `json:"usage,omitempty"`
}

func (m *messages) print(msg message, prefix string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	end := m.newline
	if end == "" {
		end = "\n"
	}
	if m.json {
		b, err := json.Marshal(msg)
		if err == nil {
			fmt.Fprintf(m.w, "%s%s", b, end)
		}
		return
	}
	fmt.Fprintf(m.w, "sandbox: %s%s%s", prefix, visible(msg.Text), end)
	if msg.Usage != "" {
		fmt.Fprintf(m.w, "%s%s", msg.Usage, end)
	}
	if msg.Hint != "" {
		fmt.Fprintf(m.w, "hint: %s%s", msg.Hint, end)
	}
}

// visible escapes control characters: errors of the system name paths as they
// are, and a terminal would obey them.
func visible(s string) string {
	if !strings.ContainsFunc(s, unicode.IsControl) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if q := strconv.QuoteRune(r); unicode.IsControl(r) {
			b.WriteString(q[1 : len(q)-1])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// notice says what is weaker or different than the caller may think.
func (m *messages) notice(text string) {
	if !m.quiet {
		m.print(message{Level: "warning", Text: text}, "notice: ")
	}
}

// detail is printed with --verbose only.
func (m *messages) detail(text string) {
	if m.verbose && !m.quiet {
		m.print(message{Level: "info", Text: text}, "")
	}
}

// fail prints err and returns the exit code for it.
func (env *environment) fail(err error) int {
	msg := message{Level: "error", Text: strings.ReplaceAll(err.Error(), "\n", "; "), Hint: hintFor(err)}
	var usage *usageError
	if errors.As(err, &usage) {
		msg.Usage = usage.usage
	}
	env.log.print(msg, "")
	return exitCode(err)
}

// exitCode is SEMANTICS' table: "sandbox help exit" prints it.
func exitCode(err error) int {
	var exit *sandbox.ExitError
	var cmd *sandbox.CommandError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.Code
	case errors.As(err, &cmd):
		return cmd.Code
	}
	return codeInternal
}

// hintFor returns what the user can do about err, or "".
func hintFor(err error) string {
	var (
		enter    *userns.EnterError
		denied   *sandbox.DeniedError
		unmapped *sandbox.UnmappedError
		target   *sandbox.MissingTargetError
		shift    *sandbox.ShiftError
		name     *sandbox.NameTakenError
		limit    *sandbox.LimitError
		required *sandbox.RequireError
		hinted   *hintError
	)
	switch {
	case errors.As(err, &hinted):
		return hinted.hint
	case errors.As(err, &required):
		return required.Cure
	case errors.As(err, &enter):
		return enter.Hint
	case errors.As(err, &denied):
		return fmt.Sprintf("--allow %s allows it: %s", denied.Grant, denied.Why)
	case errors.As(err, &unmapped):
		return `a range in /etc/subuid and /etc/subgid widens the map; "sandbox doctor" tells how`
	case errors.As(err, &target):
		return "choose a target that exists, one below /tmp, /run or your home, or a new directory directly below /"
	case errors.As(err, &shift):
		return "its file system, or one mounted below it, has no idmapped mounts: --userns=identity shows it, and maps the sandbox's root to the host's"
	case errors.As(err, &name):
		return "choose another --name, or stop that sandbox"
	case errors.Is(err, sandbox.ErrUnreadable):
		return "make the binary readable for you, or use a copy of it that is"
	case errors.As(err, &limit):
		return "raise your own limit first (ulimit -H), or ask for less"
	}
	return ""
}

// hintError adds what the user can do to an error.
type hintError struct {
	err  error
	hint string
}

func withHint(err error, hint string) error { return &hintError{err, hint} }

// Error is the error without the hint.
func (e *hintError) Error() string { return e.err.Error() }

// Unwrap returns the error that the hint is for.
func (e *hintError) Unwrap() error { return e.err }

// usageError is a command line that was not understood.
type usageError struct {
	err   error
	usage string
}

// Error is the parser's text.
func (e *usageError) Error() string { return e.err.Error() }

// Unwrap returns the parser's error.
func (e *usageError) Unwrap() error { return e.err }
