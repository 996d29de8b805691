//go:build !bench

package main_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// eventLimit is how long a command waits for an event that must come.
const eventLimit = 10 * time.Second

// scriptCommands are the commands that scripts have beside testscript's own:
//
//	exitcode N CMD…          runs CMD, which must exit with exactly N
//	                         (signal:KILL: must be killed by that signal)
//	within D CMD…            runs exec, exitcode or tty, which must be done in D
//	tty [FLAGS] CMD…         runs CMD on a terminal of its own (script_tty_test.go)
//	bg NAME [-stdin=FILE|open] CMD…
//	                         starts CMD in the background, in a process group of
//	                         its own; open is a pipe that "bgclose NAME" closes
//	bgout NAME REGEXP        waits until the output of NAME so far matches
//	bgerr NAME REGEXP        the same for its standard error
//	bgtype NAME TEXT         writes TEXT and a newline to the pipe of -stdin=open
//	bgclose NAME             closes that pipe
//	bgstate NAME STATE       waits for a state letter of /proc/PID/stat (T: stopped)
//	killbg NAME SIG          sends a signal to NAME (killbg -group: to its group)
//	waitbg NAME N            waits for its end, which must be exit code N (or
//	                         signal:KILL); stdout and stderr are then its own
//	waitfile FILE            waits until FILE exists and is not empty
//	root DIR                 makes a root of busybox with passwd and group
//	prog NAME…               copies programs of testdata/prog to the current dir
//	runtimedir               gives this script an XDG_RUNTIME_DIR, so a holder, of
//	                         its own: $WORK/run
//	leakcheck [REGEXP]       runs the leak check now; with "!" there must be leaks,
//	                         one of them matching REGEXP
func scriptCommands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"bg":         cmdBg,
		"bgclose":    cmdBgclose,
		"bgerr":      cmdBgerr,
		"bgout":      cmdBgout,
		"bgstate":    cmdBgstate,
		"bgtype":     cmdBgtype,
		"exitcode":   cmdExitcode,
		"killbg":     cmdKillbg,
		"leakcheck":  cmdLeakcheck,
		"prog":       cmdProg,
		"root":       cmdRoot,
		"runtimedir": cmdRuntimedir,
		"tty":        cmdTTY,
		"waitbg":     cmdWaitbg,
		"waitfile":   cmdWaitfile,
		"within":     cmdWithin,
	}
}

type stateKey struct{}

// scriptState is what our commands know about the running script.
type scriptState struct {
	harness    *harness
	background map[string]*backgroundCommand
	baseline   snapshot
	stateDirs  []stateDir
}

func stateOf(ts *testscript.TestScript) *scriptState {
	return ts.Value(stateKey{}).(*scriptState)
}

// want refuses what the script's author wrote wrong.
func want(ts *testscript.TestScript, ok bool, usage string) {
	if !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

func cmdExitcode(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) >= 2, "exitcode N CMD…")
	checkExit(ts, args[0], ts.Exec(args[1], args[2:]...))
}

// checkExit compares the result of Wait with "N" or "signal:NAME".
func checkExit(ts *testscript.TestScript, want string, err error) {
	got, err := exitOf(err)
	ts.Check(err)
	if got != want {
		ts.Fatalf("exit code is %s, want %s", got, want)
	}
}

// exitOf says how a process ended, in the words of exitcode.
func exitOf(err error) (string, error) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "0", nil
	case !errors.As(err, &exit):
		return "", fmt.Errorf("run the command: %w", err)
	}
	status := exit.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return "signal:" + strings.TrimPrefix(unix.SignalName(status.Signal()), "SIG"), nil
	}
	return strconv.Itoa(status.ExitStatus()), nil
}

func cmdWithin(ts *testscript.TestScript, neg bool, args []string) {
	const usage = "within DURATION exec|exitcode|tty|waitbg …"
	want(ts, !neg && len(args) >= 2, usage)
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	begin := time.Now()
	switch args[1] {
	case "exec":
		want(ts, len(args) >= 3, usage)
		checkExit(ts, "0", ts.Exec(args[2], args[3:]...))
	case "exitcode", "tty", "waitbg":
		scriptCommands()[args[1]](ts, false, args[2:])
	default:
		want(ts, false, usage)
	}
	if took := time.Since(begin); took > limit {
		ts.Fatalf("took %v, want at most %v", took.Round(time.Millisecond), limit)
	}
}

// outputBuffer collects output, and tells who waits that more has come.
type outputBuffer struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{} // closed and replaced at every write
}

func newOutputBuffer() *outputBuffer { return &outputBuffer{more: make(chan struct{})} }

func (b *outputBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.more)
	b.more = make(chan struct{})
	return b.text.Write(p)
}

func (b *outputBuffer) snapshot() (string, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String(), b.more
}

// waitFor returns once the text from offset on matches, with the end of the
// match; done is closed when no more can come.
func (b *outputBuffer) waitFor(re *regexp.Regexp, offset int, done <-chan struct{}) (int, error) {
	limit := time.NewTimer(eventLimit)
	defer limit.Stop()
	for ended := false; ; {
		text, more := b.snapshot()
		if at := re.FindStringIndex(text[offset:]); at != nil {
			return offset + at[1], nil
		}
		if ended {
			return 0, fmt.Errorf("%q never came; there was %q", re, text[offset:])
		}
		select {
		case <-more:
		case <-done:
			ended = true // look once more at what came last
		case <-limit.C:
			return 0, fmt.Errorf("%q did not come in %v; there was %q", re, eventLimit, text[offset:])
		}
	}
}

type backgroundCommand struct {
	cmd            *exec.Cmd
	stdin          io.WriteCloser // with -stdin=open
	stdout, stderr *outputBuffer
	done           chan struct{} // closed after err is set
	err            error
}

func cmdBg(ts *testscript.TestScript, neg bool, args []string) {
	const usage = "bg NAME [-stdin=FILE|open] CMD…"
	want(ts, !neg && len(args) >= 2, usage)
	s, name, stdin := stateOf(ts), args[0], ""
	args = args[1:]
	if v, ok := strings.CutPrefix(args[0], "-stdin="); ok {
		stdin, args = v, args[1:]
	}
	want(ts, len(args) > 0, usage)
	if s.background[name] != nil {
		ts.Fatalf("there is a background command %q already", name)
	}
	b := &backgroundCommand{
		cmd:    scriptCommand(ts, args),
		stdout: newOutputBuffer(),
		stderr: newOutputBuffer(),
		done:   make(chan struct{}),
	}
	b.cmd.Stdout, b.cmd.Stderr = b.stdout, b.stderr
	// A group of its own: a signal for it reaches nobody else, and it can be
	// stopped even where the tests run in an orphaned group.
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	switch stdin {
	case "":
	case "open":
		w, err := b.cmd.StdinPipe()
		ts.Check(err)
		b.stdin = w
	default:
		f, err := os.Open(ts.MkAbs(stdin))
		ts.Check(err)
		defer f.Close()
		b.cmd.Stdin = f
	}
	ts.Check(b.cmd.Start())
	s.background[name] = b
	go func() {
		b.err = b.cmd.Wait()
		close(b.done)
	}()
	ts.Defer(func() {
		select {
		case <-b.done:
		default: // the script has failed, or does not care how it ends
			_ = b.cmd.Process.Signal(unix.SIGCONT)
			_ = b.cmd.Process.Signal(unix.SIGTERM)
			select {
			case <-b.done:
			case <-time.After(eventLimit):
				_ = b.cmd.Process.Kill()
				<-b.done
			}
		}
	})
}

// scriptCommand builds a command with the script's directory and environment;
// its WaitDelay keeps a leaked process that holds a pipe from hanging us.
func scriptCommand(ts *testscript.TestScript, args []string) *exec.Cmd {
	path := args[0]
	if !strings.Contains(path, "/") {
		for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
			if unix.Access(filepath.Join(dir, path), unix.X_OK) == nil {
				path = filepath.Join(dir, path)
				break
			}
		}
	}
	cmd := exec.Command(path, args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = scriptEnviron(ts)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// scriptEnviron asks testscript for the script's environment, which it gives
// to the processes that it starts and to nobody else; through a file, because
// output would fill the log.
func scriptEnviron(ts *testscript.TestScript) []string {
	file := filepath.Join(ts.Getenv("WORK"), ".environ")
	ts.Check(ts.Exec("/bin/sh", "-c", `exec env -0 >"$1"`, "sh", file))
	text := ts.ReadFile(file)
	ts.Check(os.Remove(file))
	return strings.Split(strings.TrimSuffix(text, "\x00"), "\x00")
}

func backgroundOf(ts *testscript.TestScript, name string) *backgroundCommand {
	b := stateOf(ts).background[name]
	if b == nil {
		ts.Fatalf("there is no background command %q", name)
	}
	return b
}

func cmdBgout(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 2, "bgout NAME REGEXP")
	b := backgroundOf(ts, args[0])
	waitOutput(ts, b, b.stdout, args[1])
}

func cmdBgerr(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 2, "bgerr NAME REGEXP")
	b := backgroundOf(ts, args[0])
	waitOutput(ts, b, b.stderr, args[1])
}

func waitOutput(ts *testscript.TestScript, b *backgroundCommand, out *outputBuffer, pattern string) {
	re, err := regexp.Compile("(?m)" + pattern)
	ts.Check(err)
	if _, err := out.waitFor(re, 0, b.done); err != nil {
		stderr, _ := b.stderr.snapshot()
		ts.Fatalf("%v\n[stderr]\n%s", err, stderr)
	}
}

func cmdBgtype(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 2, "bgtype NAME TEXT")
	b := backgroundOf(ts, args[0])
	want(ts, b.stdin != nil, "bg NAME -stdin=open … before bgtype")
	_, err := io.WriteString(b.stdin, args[1]+"\n")
	ts.Check(err)
}

func cmdBgclose(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 1, "bgclose NAME")
	b := backgroundOf(ts, args[0])
	want(ts, b.stdin != nil, "bg NAME -stdin=open … before bgclose")
	ts.Check(b.stdin.Close())
}

func cmdBgstate(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 2, "bgstate NAME STATE")
	b := backgroundOf(ts, args[0])
	poll(ts, fmt.Sprintf("state %s of %q", args[1], args[0]), func() bool {
		p, err := readProcess(b.cmd.Process.Pid)
		return err == nil && strings.Contains(args[1], p.state)
	})
}

func cmdKillbg(ts *testscript.TestScript, neg bool, args []string) {
	group := len(args) > 0 && args[0] == "-group"
	if group {
		args = args[1:]
	}
	want(ts, !neg && len(args) == 2, "killbg [-group] NAME SIG")
	b := backgroundOf(ts, args[0])
	sig := unix.SignalNum("SIG" + strings.TrimPrefix(args[1], "SIG"))
	want(ts, sig != 0, "killbg [-group] NAME SIG, where SIG is a name such as TERM")
	pid := b.cmd.Process.Pid
	if group {
		pid = -pid
	}
	ts.Check(unix.Kill(pid, sig))
}

func cmdWaitbg(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 2, "waitbg NAME N")
	s, b := stateOf(ts), backgroundOf(ts, args[0])
	select {
	case <-b.done:
	case <-time.After(scriptTimeLimit / 3):
		ts.Fatalf("the background command %q does not end", args[0])
	}
	delete(s.background, args[0])
	stdout, _ := b.stdout.snapshot()
	stderr, _ := b.stderr.snapshot()
	fmt.Fprint(ts.Stdout(), stdout)
	fmt.Fprint(ts.Stderr(), stderr)
	checkExit(ts, args[1], b.err)
}

func cmdWaitfile(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 1, "waitfile FILE")
	poll(ts, args[0], func() bool {
		st, err := os.Stat(ts.MkAbs(args[0]))
		return err == nil && st.Size() > 0
	})
}

// poll is for what the kernel reports to nobody.
func poll(ts *testscript.TestScript, what string, is func() bool) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(eventLimit)
	defer limit.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-limit.C:
			ts.Fatalf("wait for %s: nothing in %v", what, eventLimit)
		}
	}
}

func cmdProg(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) > 0, "prog NAME…")
	for _, name := range args {
		ts.Check(copyProgram(filepath.Join(stateOf(ts).harness.progDir, name), ts.MkAbs(name)))
	}
}

func copyProgram(from, to string) error {
	data, err := os.ReadFile(from)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w (run \"make progs\")", err)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

func cmdRoot(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 1, "root DIR")
	ts.Check(makeRoot(ts.MkAbs(args[0])))
}

// makeRoot makes a small root: a static busybox with its applets as links,
// and the users root, app (1000, also in group video) and nobody.
func makeRoot(dir string) error {
	busybox, err := findBusybox()
	if err != nil {
		return err
	}
	for _, d := range []string{"bin", "dev", "etc", "home/app", "proc", "root", "sys", "tmp", "usr/bin", "var/tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	for _, d := range []string{"tmp", "var/tmp"} {
		if err := os.Chmod(filepath.Join(dir, d), 0o777|os.ModeSticky); err != nil {
			return err
		}
	}
	if err := copyProgram(busybox, filepath.Join(dir, "bin/busybox")); err != nil {
		return err
	}
	applets, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("list the applets of busybox: %w", err)
	}
	for _, name := range strings.Fields(string(applets)) {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", name)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n" +
			"nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
		"etc/group": "root:x:0:\nvideo:x:44:app\napp:x:1000:\nnogroup:x:65534:\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func cmdRuntimedir(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, !neg && len(args) == 0, "runtimedir")
	dir := ts.MkAbs(filepath.Join(ts.Getenv("WORK"), "run"))
	ts.Check(os.Mkdir(dir, 0o700))
	ts.Setenv("XDG_RUNTIME_DIR", dir)
	s := stateOf(ts)
	s.stateDirs = append(s.stateDirs, stateDir{dir + "/sandbox", []string{"holder"}})
}

func cmdLeakcheck(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, len(args) == 0 || neg && len(args) == 1, "[!] leakcheck [REGEXP]")
	leaks := stateOf(ts).leaks()
	report := strings.Join(leaks, "\n")
	fmt.Fprintln(ts.Stdout(), report)
	switch {
	case !neg && len(leaks) > 0:
		ts.Fatalf("something is left behind:\n%s", report)
	case neg && len(leaks) == 0:
		ts.Fatalf("nothing is left behind")
	case len(args) == 1:
		re, err := regexp.Compile("(?m)" + args[0])
		ts.Check(err)
		if !re.MatchString(report) {
			ts.Fatalf("no leak matches %q:\n%s", re, report)
		}
	}
}
