//go:build !bench

package main_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

const ttyUsage = "tty [-size=ROWSxCOLS] [-fds=012] [-code=N] [-script=FILE] CMD…"

// ttyOptions are the flags of the command tty.
type ttyOptions struct {
	size   pty.Winsize // 24x80
	fds    string      // those that are the terminal: 012; any other is a pipe (0: /dev/null)
	code   string      // how it must end, as for exitcode: 0
	script string      // a file with the steps of a user, see ttyStep
}

// cmdTTY runs a command as the leader of a session on a new terminal, plays
// the user, and checks how it ended, that nobody keeps the terminal open, and
// that its settings are what they were. "stdout" is then what came out of the
// terminal; a stdout and stderr that are no terminal come after it, and as
// "stderr".
//
// The lines of the -script file:
//
//	expect REGEXP     waits for it in what came after the last match
//	type TEXT         types it; TEXT may have the escapes of a Go string
//	resize ROWSxCOLS  changes the window
//	signal NAME       sends a signal to the command
//	hangup            closes the terminal
func cmdTTY(ts *testscript.TestScript, neg bool, args []string) {
	opt, args, err := parseTTYOptions(args)
	ts.Check(err)
	want(ts, !neg && len(args) > 0, ttyUsage)
	cmd := scriptCommand(ts, args)
	var steps []string
	if opt.script != "" {
		steps = strings.Split(strings.TrimSpace(ts.ReadFile(opt.script)), "\n")
	}

	master, slave, err := pty.Open()
	ts.Check(err)
	// creack/pty leaves it in blocking mode, in which Close waits for the
	// reader: a hangup would never happen.
	master, err = pollable(master)
	ts.Check(err)
	defer func() { _ = master.Close() }() // closed already after a hangup
	defer func() { _ = slave.Close() }()  // closed already once the command runs
	ts.Check(setSize(master, opt.size))
	before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	ts.Check(err)

	out, errOut := newOutputBuffer(), newOutputBuffer()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: int(opt.fds[0] - '0')}
	plainOut := newOutputBuffer()
	cmd.Stdout, cmd.Stderr = plainOut, errOut
	for _, fd := range opt.fds {
		switch fd {
		case '0':
			cmd.Stdin = slave
		case '1':
			cmd.Stdout = slave
		case '2':
			cmd.Stderr = slave
		}
	}
	ts.Check(cmd.Start())
	ts.Check(slave.Close())

	closed := make(chan struct{})
	go func() {
		defer close(closed)
		buf := make([]byte, 32<<10)
		for {
			n, err := master.Read(buf)
			if n > 0 {
				_, _ = out.Write(buf[:n]) // a buffer in memory
			}
			if err != nil { // EIO: nobody has the terminal open any more
				return
			}
		}
	}()
	user := ttyUser{master: master, process: cmd.Process, out: out, closed: closed}
	stepErr := user.play(steps)
	if stepErr != nil {
		_ = cmd.Process.Kill() // the script has failed: do not wait for it
	}
	limit := time.AfterFunc(scriptTimeLimit/3, func() { _ = cmd.Process.Kill() })
	waitErr := cmd.Wait()
	limit.Stop()

	var problems []error
	if !user.hungUp {
		after, err := unix.IoctlGetTermios(int(master.Fd()), unix.TCGETS)
		if err != nil {
			problems = append(problems, fmt.Errorf("read the terminal's settings: %w", err))
		} else if *after != *before {
			problems = append(problems, fmt.Errorf("the terminal's settings changed from %+v to %+v", *before, *after))
		}
		select {
		case <-closed:
		case <-time.After(2 * time.Second):
			problems = append(problems, errors.New("somebody keeps the terminal open after the command's end"))
		}
	}
	text, _ := out.snapshot()
	plain, _ := plainOut.snapshot()
	errText, _ := errOut.snapshot()
	fmt.Fprint(ts.Stdout(), text+plain)
	fmt.Fprint(ts.Stderr(), errText)
	ts.Check(errors.Join(append([]error{stepErr}, problems...)...))
	checkExit(ts, opt.code, waitErr)
}

// pollable returns the same terminal in non-blocking mode, and closes f.
func pollable(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), f.Name()), f.Close()
}

// setSize is pty.Setsize for a terminal that stays in non-blocking mode.
func setSize(f *os.File, size pty.Winsize) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var setErr error
	err = conn.Control(func(fd uintptr) {
		setErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Cols})
	})
	return errors.Join(err, setErr)
}

func parseTTYOptions(args []string) (ttyOptions, []string, error) {
	opt := ttyOptions{size: pty.Winsize{Rows: 24, Cols: 80}, fds: "012", code: "0"}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		name, value, _ := strings.Cut(args[0], "=")
		switch name {
		case "-size":
			size, err := parseSize(value)
			if err != nil {
				return opt, nil, err
			}
			opt.size = size
		case "-fds":
			if value == "" || strings.Trim(value, "012") != "" {
				return opt, nil, fmt.Errorf("-fds=%q: some of 0, 1 and 2", value)
			}
			opt.fds = value
		case "-code":
			opt.code = value
		case "-script":
			opt.script = value
		default:
			return opt, nil, fmt.Errorf("unknown flag %q; usage: %s", args[0], ttyUsage)
		}
		args = args[1:]
	}
	return opt, args, nil
}

func parseSize(s string) (pty.Winsize, error) {
	rows, cols, ok := strings.Cut(s, "x")
	r, errR := strconv.ParseUint(rows, 10, 16)
	c, errC := strconv.ParseUint(cols, 10, 16)
	if !ok || errR != nil || errC != nil {
		return pty.Winsize{}, fmt.Errorf("size %q: not ROWSxCOLS", s)
	}
	return pty.Winsize{Rows: uint16(r), Cols: uint16(c)}, nil
}

// ttyUser does what a script says that a user does.
type ttyUser struct {
	master  *os.File
	process *os.Process
	out     *outputBuffer
	closed  <-chan struct{}
	seen    int // offset in out of what no expect has matched yet
	hungUp  bool
}

func (u *ttyUser) play(steps []string) error {
	for _, line := range steps {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if word == "" || strings.HasPrefix(word, "#") {
			continue
		}
		if err := u.step(word, rest); err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	return nil
}

func (u *ttyUser) step(word, rest string) error {
	switch word {
	case "expect":
		re, err := regexp.Compile("(?m)" + rest)
		if err != nil {
			return err
		}
		seen, err := u.out.waitFor(re, u.seen, u.closed)
		if err != nil {
			return err
		}
		u.seen = seen
		return nil
	case "type":
		text, err := strconv.Unquote(`"` + strings.ReplaceAll(rest, `"`, `\"`) + `"`)
		if err != nil {
			return err
		}
		_, err = u.master.WriteString(text)
		return err
	case "resize":
		size, err := parseSize(rest)
		if err != nil {
			return err
		}
		return setSize(u.master, size)
	case "signal":
		sig := unix.SignalNum("SIG" + strings.TrimPrefix(rest, "SIG"))
		if sig == 0 {
			return errors.New("unknown signal")
		}
		return u.process.Signal(sig)
	case "hangup":
		u.hungUp = true
		return u.master.Close()
	}
	return errors.New("unknown step")
}
