//go:build !bench

// The script tests: testdata/*.txtar, run by testscript against the static
// bin/sandbox that make built, one after the other, each with the leak check
// of leak_test.go at its end.
//
// A script may begin with a comment "# passes: user race single root": the
// passes of "make test" in which it runs ("user race" without that line).
//
//	user     an ordinary user with subordinate ids
//	race     the same with bin/sandbox-race
//	single   an ordinary user with SANDBOX_USERNS=single
//	root     root
//
// SANDBOX_TEST_PASS names the pass; without it: root for root, single when
// SANDBOX_USERNS says so, else user. SANDBOX_BIN names another binary.
//
// Conditions and commands of our own are listed at scriptCondition and
// scriptCommands (script_commands_test.go). In the environment of a script:
// $SANDBOX is the binary's path, $HOME a 0700 folder in $WORK, $TMPDIR must be
// empty again at the end, $XDG_RUNTIME_DIR belongs to all scripts of the run
// (so they share one holder; "runtimedir" makes one for this script alone).
package main_test

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// scriptTimeLimit is for one script; what hangs longer gets QUIT, then KILL.
const scriptTimeLimit = 3 * time.Minute

// reaperEnv tells the test process the pid of its reaper.
const reaperEnv = "SANDBOX_TEST_REAPER"

// TestMain runs the tests in a child and stays behind as its reaper: the
// subreaper of everything that the tests start, so that an orphan stays in
// our process tree, where the leak check finds it whatever it calls itself,
// and is reaped at once, as by a machine's init.
func TestMain(m *testing.M) {
	if os.Getenv(reaperEnv) != "" {
		os.Exit(m.Run())
	}
	code, err := reap()
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the tests below a reaper:", err)
		code = 1
	}
	os.Exit(code)
}

// reap runs this program again and returns its exit code.
func reap() (int, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("become a subreaper: %w", err)
	}
	// Ctrl-C reaches the child through the terminal. The others are for us
	// alone ("go test" sends QUIT to what takes too long).
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGHUP)
	child, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Env:   append(os.Environ(), reaperEnv+"="+strconv.Itoa(os.Getpid())),
	})
	if err != nil {
		return 0, fmt.Errorf("start %q: %w", os.Args[0], err)
	}
	go func() {
		for sig := range signals {
			if sig != unix.SIGINT {
				_ = child.Signal(sig) // it may have ended already
			}
		}
	}()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("wait for the tests: %w", err)
		case pid == child.Pid && status.Exited():
			return status.ExitStatus(), nil
		case pid == child.Pid && status.Signaled():
			return 128 + int(status.Signal()), nil
		}
	}
}

// harness is what all scripts of a run share.
type harness struct {
	pass       string
	binary     string // the sandbox under test
	binDir     string // holds it under the name "sandbox"
	progDir    string // the programs of testdata/prog
	runtimeDir string // XDG_RUNTIME_DIR of every script that asks for no other
	holders    []int  // the shared holder's processes
}

// TestScripts runs the scripts of this pass.
func TestScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("the scripts are no short test")
	}
	h := newHarness(t)
	scripts := h.scripts(t)
	if len(scripts) == 0 {
		t.Fatalf("no script in testdata is for the pass %q", h.pass)
	}
	h.warmUp(t)
	for _, file := range scripts {
		testscript.RunT(sequential{t}, testscript.Params{
			Files:               []string{file},
			Setup:               h.setup,
			Condition:           h.condition,
			Cmds:                scriptCommands(),
			RequireUniqueNames:  true,
			RequireExplicitExec: true,
			Deadline:            time.Now().Add(scriptTimeLimit),
		})
	}
}

// sequential keeps scripts from running beside each other: the leak check
// must know which of them left something.
type sequential struct{ *testing.T }

func (sequential) Parallel()     {}
func (sequential) Verbose() bool { return testing.Verbose() }

func (s sequential) Run(name string, f func(testscript.T)) {
	s.T.Run(name, func(t *testing.T) { f(sequential{t}) })
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	h := &harness{pass: os.Getenv("SANDBOX_TEST_PASS")}
	if h.pass == "" {
		switch {
		case os.Getenv("SANDBOX_USERNS") == "single":
			h.pass = "single"
		case os.Geteuid() == 0:
			h.pass = "root"
		default:
			h.pass = "user"
		}
	}
	if h.pass == "single" && os.Getenv("SANDBOX_USERNS") != "single" {
		t.Fatal("the pass \"single\" needs SANDBOX_USERNS=single in the environment")
	}
	h.binary = findBinary(t)
	h.progDir = filepath.Join(repositoryDir(t), "bin", "prog")

	// Not t.TempDir: its name is long, and the paths of sockets are short.
	dir, err := os.MkdirTemp("", "sbx")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the run's folder: %v", err)
		}
	})
	h.binDir, h.runtimeDir = filepath.Join(dir, "bin"), filepath.Join(dir, "run")
	for _, d := range []string{h.binDir, h.runtimeDir} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(h.binary, filepath.Join(h.binDir, "sandbox")); err != nil {
		t.Fatal(err)
	}
	return h
}

// repositoryDir is where testdata is: go test starts us there.
func repositoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func findBinary(t *testing.T) string {
	t.Helper()
	candidates := []string{filepath.Join(repositoryDir(t), "bin", "sandbox")}
	if exe, err := os.Executable(); err == nil {
		candidates = append(candidates, filepath.Join(filepath.Dir(exe), "sandbox"))
	}
	if v := os.Getenv("SANDBOX_BIN"); v != "" {
		abs, err := filepath.Abs(v)
		if err != nil {
			t.Fatal(err)
		}
		candidates = []string{abs, filepath.Join(abs, "sandbox")}
	}
	for _, c := range candidates {
		if st, err := os.Stat(c); err == nil && st.Mode().IsRegular() {
			return c
		}
	}
	t.Fatalf("find the sandbox binary: none of %q (run \"make build\")", candidates)
	return ""
}

// scripts lists the files of testdata that belong to this pass.
func (h *harness) scripts(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, file := range all {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		passes, err := passesOf(text)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if slices.Contains(passes, h.pass) {
			files = append(files, file)
		}
	}
	return files
}

// passesOf reads the line "# passes: …" of a script.
func passesOf(script []byte) ([]string, error) {
	for line := range bytes.Lines(script) {
		if bytes.HasPrefix(line, []byte("-- ")) {
			break
		}
		words, ok := strings.CutPrefix(string(line), "# passes:")
		if !ok {
			continue
		}
		passes := strings.Fields(words)
		for _, p := range passes {
			if !slices.Contains([]string{"user", "race", "single", "root"}, p) {
				return nil, fmt.Errorf("unknown pass %q", p)
			}
		}
		return passes, nil
	}
	return []string{"user", "race"}, nil
}

// warmUp makes the holder that all scripts share, so that its processes are
// nobody's leak, and proves that the single pass really has a single id.
func (h *harness) warmUp(t *testing.T) {
	t.Helper()
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, "home"), 0o700); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, error) {
		cmd := exec.Command(filepath.Join(h.binDir, "sandbox"), args...)
		cmd.Dir = home
		cmd.Env = append(h.environ(home), "PATH="+os.Getenv("PATH"))
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("sandbox %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
		}
		return string(out), nil
	}
	// A product that cannot do this much makes every script fail with its own
	// words; here it is only said first.
	out, err := run("run", "--", "cat", "/proc/self/uid_map")
	if err != nil {
		t.Logf("start the first sandbox: %v", err)
	}
	if h.pass == "single" {
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if f := strings.Fields(lines[0]); len(lines) != 1 || len(f) != 3 || f[2] != "1" {
			t.Fatalf("SANDBOX_USERNS=single is not obeyed: the map inside is %q", out)
		}
	}
	h.holders = holderPIDs(processTree())
	t.Cleanup(func() {
		if _, err := run("system", "stop"); err != nil {
			t.Errorf("stop the holder: %v", err)
		}
		for _, pid := range waitForExit(holderPIDs(processTree()), 2*time.Second) {
			t.Errorf("the holder's process %d outlived \"sandbox system stop\"", pid)
			_ = unix.Kill(pid, unix.SIGKILL) // reported just above
		}
	})
}

// environ is what a script starts with, but for WORK, PATH and TMPDIR. The
// caller's environment stays outside, but for what steers the tests.
func (h *harness) environ(work string) []string {
	env := []string{
		"HOME=" + filepath.Join(work, "home"),
		"XDG_RUNTIME_DIR=" + h.runtimeDir,
		"XDG_STATE_HOME=" + filepath.Join(work, ".xdg", "state"),
		"XDG_DATA_HOME=" + filepath.Join(work, ".xdg", "data"),
		"XDG_CACHE_HOME=" + filepath.Join(work, ".xdg", "cache"),
		"TERM=xterm",
		"LC_ALL=C",
		"SANDBOX=" + h.binary,
		"UID=" + strconv.Itoa(os.Getuid()),
		"GID=" + strconv.Itoa(os.Getgid()),
		"GORACE=halt_on_error=1 exitcode=66 atexit_sleep_ms=0",
	}
	for _, name := range []string{"SANDBOX_USERNS", "SANDBOX_HOLDER", "N"} {
		if v := os.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// setup prepares one script, and arranges for the leak check at its end.
func (h *harness) setup(env *testscript.Env) error {
	for _, dir := range []string{"home", ".xdg/state", ".xdg/data", ".xdg/cache"} {
		if err := os.MkdirAll(filepath.Join(env.WorkDir, dir), 0o700); err != nil {
			return err
		}
	}
	env.Vars = append(env.Vars, h.environ(env.WorkDir)...)
	env.Setenv("PATH", h.binDir+":"+os.Getenv("PATH"))
	s := &scriptState{
		harness:    h,
		background: map[string]*backgroundCommand{},
		baseline:   takeSnapshot(),
		stateDirs: []stateDir{
			{h.runtimeDir + "/sandbox", []string{"holder"}},
			{env.WorkDir + "/.xdg/state/sandbox", []string{"runtime"}},
			{env.WorkDir + "/.xdg/data/sandbox", nil},
			{env.WorkDir + "/.tmp", nil},
		},
	}
	env.Values[stateKey{}] = s
	tb, ok := env.T().(testing.TB)
	if !ok {
		return errors.New("the script's T is no testing.TB")
	}
	env.Defer(func() { s.end(tb) })
	return nil
}

// condition answers the conditions of our own:
//
//	[userns]        a user namespace can be made by this user
//	[subuid]        this user has subordinate uids and gids
//	[newuidmap]     newuidmap and newgidmap are installed
//	[fuse] [tun]    /dev/fuse, /dev/net/tun can be opened
//	[root] [single] which pass this is
//	[race]          the binary is the one with the race detector
//	[static]        the binary is static
//	[busybox]       a static busybox is installed ("root" needs it)
//	[seccomp-i386]  the kernel takes i386 system calls
//	[cgroup2]       a cgroup v2 hierarchy that this user may change is ours
func (h *harness) condition(cond string) (bool, error) {
	switch cond {
	case "userns":
		cmd := exec.Command("/proc/self/exe", "-test.run=^$")
		cmd.Env = append(os.Environ(), reaperEnv+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		}
		return cmd.Run() == nil, nil
	case "subuid":
		return len(subIDs("/etc/subuid")) > 0 && len(subIDs("/etc/subgid")) > 0, nil
	case "newuidmap":
		_, errU := exec.LookPath("newuidmap")
		_, errG := exec.LookPath("newgidmap")
		return errU == nil && errG == nil, nil
	case "fuse":
		return canOpen("/dev/fuse"), nil
	case "tun":
		return canOpen("/dev/net/tun"), nil
	case "root":
		return os.Geteuid() == 0, nil
	case "single":
		return h.pass == "single", nil
	case "race":
		return h.pass == "race", nil
	case "static":
		return isStatic(h.binary), nil
	case "busybox":
		_, err := findBusybox()
		return err == nil, nil
	case "seccomp-i386":
		return exec.Command(filepath.Join(h.progDir, "syscall32")).Run() == nil, nil
	case "cgroup2":
		return ownCgroup2(), nil
	}
	return false, fmt.Errorf("unknown condition %q", cond)
}

func canOpen(path string) bool {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// idRange is one line of /etc/subuid.
type idRange struct{ first, count int }

// subIDs returns the ranges that /etc/subuid or /etc/subgid gives this user,
// by name or by number; none when it cannot be read.
func subIDs(file string) []idRange {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	names := []string{strconv.Itoa(os.Getuid())}
	if u, err := user.Current(); err == nil {
		names = append(names, u.Username)
	}
	var ranges []idRange
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 || !slices.Contains(names, f[0]) {
			continue
		}
		first, err1 := strconv.Atoi(f[1])
		count, err2 := strconv.Atoi(f[2])
		if err1 == nil && err2 == nil && count > 0 {
			ranges = append(ranges, idRange{first, count})
		}
	}
	return ranges
}

// isStatic reports whether an ELF program asks for no loader.
func isStatic(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

func findBusybox() (string, error) {
	for _, path := range []string{"/bin/busybox", "/usr/bin/busybox", "/usr/lib/busybox/bin/busybox"} {
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && isStatic(path) {
			return path, nil
		}
	}
	return "", errors.New("no static busybox is installed (Debian: busybox-static)")
}

// ownCgroup2 reports whether we are in a cgroup v2 group below which we may
// make others.
func ownCgroup2() bool {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if ok && path != "/" {
			return unix.Access(filepath.Join("/sys/fs/cgroup", path), unix.W_OK) == nil
		}
	}
	return false
}
