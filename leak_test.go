//go:build !bench

package main_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// releaseLimit is how long a release may take (SEMANTICS §1): a process that
// is on its way out is no leak yet.
const releaseLimit = 2 * time.Second

// sharedDirs are where a program that forgets a temporary file leaves it.
var sharedDirs = []string{"/tmp", "/var/tmp", "/dev/shm"}

// snapshot is what must be the same before and after a script.
type snapshot struct {
	mounts  []string        // lines of mountinfo
	fuse    []string        // FUSE connections, where the kernel shows them
	files   map[string]bool // entries of sharedDirs
	termios *unix.Termios   // of our terminal; nil without one
}

// takeSnapshot looks at the machine. What cannot be read (no fusectl, no
// terminal) is empty both times.
func takeSnapshot() snapshot {
	s := snapshot{files: map[string]bool{}, termios: terminalSettings()}
	if text, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		s.mounts = strings.Split(strings.TrimSpace(string(text)), "\n")
	}
	for _, e := range readDir("/sys/fs/fuse/connections") {
		s.fuse = append(s.fuse, e.Name())
	}
	for _, dir := range sharedDirs {
		for _, e := range readDir(dir) {
			s.files[filepath.Join(dir, e.Name())] = true
		}
	}
	return s
}

func readDir(dir string) []fs.DirEntry {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	return entries
}

func terminalSettings() *unix.Termios {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil
	}
	defer tty.Close()
	settings, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		return nil
	}
	return settings
}

// since names what differs from an earlier snapshot; isOurs decides whether a
// new file in a shared directory counts.
func (s snapshot) since(before snapshot, isOurs func(path string) bool) []string {
	var leaks []string
	add, gone := difference(before.mounts, s.mounts)
	for _, m := range add {
		leaks = append(leaks, "mount: new: "+m)
	}
	for _, m := range gone {
		leaks = append(leaks, "mount: gone: "+m)
	}
	add, _ = difference(before.fuse, s.fuse)
	for _, c := range add {
		leaks = append(leaks, "FUSE connection: "+c)
	}
	for _, path := range slices.Sorted(maps.Keys(s.files)) {
		if !before.files[path] && isOurs(path) {
			leaks = append(leaks, "file: "+path)
		}
	}
	if s.termios != nil && before.termios != nil && *s.termios != *before.termios {
		leaks = append(leaks, fmt.Sprintf("terminal: settings %+v, were %+v", *s.termios, *before.termios))
	}
	return leaks
}

// difference returns what is only in after, and what is only in before.
func difference(before, after []string) (added, gone []string) {
	for _, a := range after {
		if !slices.Contains(before, a) {
			added = append(added, a)
		}
	}
	for _, b := range before {
		if !slices.Contains(after, b) {
			gone = append(gone, b)
		}
	}
	return added, gone
}

// isOurs reports whether a file in a shared directory belongs to the user of
// this test, or to one of the ids that only this user may map.
func isOurs(path string) bool {
	st, err := os.Lstat(path)
	if err != nil {
		return false // it has gone meanwhile
	}
	uid := int(st.Sys().(*syscall.Stat_t).Uid)
	for _, r := range subIDs("/etc/subuid") {
		if uid >= r.first && uid < r.first+r.count {
			return true
		}
	}
	if uid != os.Getuid() {
		return false
	}
	if uid != 0 {
		// The harness's own, of another run of these tests at the same time.
		return !slices.ContainsFunc([]string{"go-test-script", "TestScripts", "sbx"}, func(prefix string) bool {
			return strings.HasPrefix(filepath.Base(path), prefix)
		})
	}
	// Half of a machine makes files in /tmp as root: only names that we or our
	// libraries could give count.
	name := strings.ToLower(filepath.Base(path))
	return slices.ContainsFunc([]string{"sandbox", "runc", "rootless", "libcontainer"}, func(word string) bool {
		return strings.Contains(name, word)
	})
}

// process is what the check knows about a process.
type process struct {
	pid, ppid int
	state     string
	args      string // its command line, or (name) when that is empty
}

func (p process) String() string { return fmt.Sprintf("process: %d %s %s", p.pid, p.state, p.args) }

// isHolder tells the one process that may remain by how it shows itself.
func (p process) isHolder() bool { return p.args == "sandbox holder" }

func readProcess(pid int) (process, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, err
	}
	// "pid (name) state ppid …": the name may hold anything, parentheses too.
	open, end := strings.IndexByte(string(stat), '('), strings.LastIndexByte(string(stat), ')')
	if open < 0 || end < open {
		return process{}, fmt.Errorf("parse /proc/%d/stat: %q", pid, stat)
	}
	fields := strings.Fields(string(stat[end+1:]))
	if len(fields) < 2 {
		return process{}, fmt.Errorf("parse /proc/%d/stat: %q", pid, stat)
	}
	ppid, err := strconv.Atoi(fields[1])
	if err != nil {
		return process{}, fmt.Errorf("parse /proc/%d/stat: %w", pid, err)
	}
	p := process{pid: pid, ppid: ppid, state: fields[0], args: string(stat[open : end+1])}
	if cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && len(cmdline) > 0 {
		if args := strings.TrimSpace(strings.ReplaceAll(string(cmdline), "\x00", " ")); args != "" {
			p.args = args
		}
	}
	return p, nil
}

// processTree lists the living descendants of our reaper but ourselves: all
// that any script has started, in whatever namespace, session or guise it is.
func processTree() []process {
	children := map[int][]process{}
	for _, e := range readDir("/proc") {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, err := readProcess(pid); err == nil { // else it has gone meanwhile
			children[p.ppid] = append(children[p.ppid], p)
		}
	}
	reaper, err := strconv.Atoi(os.Getenv(reaperEnv))
	if err != nil || reaper < 2 {
		reaper = os.Getpid()
	}
	var tree []process
	for queue := []int{reaper}; len(queue) > 0; queue = queue[1:] {
		for _, p := range children[queue[0]] {
			queue = append(queue, p.pid)
			if p.pid != os.Getpid() && p.state != "Z" && p.state != "X" {
				tree = append(tree, p)
			}
		}
	}
	return tree
}

func holderPIDs(tree []process) []int {
	var pids []int
	for _, p := range tree {
		if p.isHolder() {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// waitForExit waits until the processes have ended, and returns those that
// live after the limit.
func waitForExit(pids []int, limit time.Duration) []int {
	deadline := time.Now().Add(limit)
	var alive []int
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // gone
		}
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for {
			n, err := unix.Poll(poll, max(0, int(time.Until(deadline).Milliseconds())))
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if n == 0 {
				alive = append(alive, pid)
			}
			break
		}
		_ = unix.Close(fd)
	}
	return alive
}

// leakedProcesses returns the processes of the tree, once they had
// releaseLimit to end, but for holders and for the processes in except (the
// script's living background commands) and their descendants.
func leakedProcesses(except map[int]bool) []process {
	candidates := func() (left []process) {
		spared := maps.Clone(except)
		for _, p := range processTree() { // parents come before their children
			switch {
			case spared[p.ppid]:
				spared[p.pid] = true
			case !p.isHolder() && !spared[p.pid]:
				left = append(left, p)
			}
		}
		return left
	}
	var pids []int
	for _, p := range candidates() {
		pids = append(pids, p.pid)
	}
	waitForExit(pids, releaseLimit)
	return candidates() // again: the dying may have left children
}

// stateDir is a directory of the product's in which only the allowed names
// may be left, and folders with nothing in them.
type stateDir struct {
	path    string
	allowed []string
}

func (d stateDir) leaks() []string {
	var leaks []string
	err := filepath.WalkDir(d.path, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				leaks = append(leaks, fmt.Sprintf("state: %v", err))
			}
			return nil
		}
		rel, err := filepath.Rel(d.path, path)
		if err != nil {
			return err
		}
		depth := strings.Count(rel, "/") + 1
		switch {
		case rel == ".":
		case depth == 1 && slices.Contains(d.allowed, rel):
			if e.IsDir() {
				return fs.SkipDir
			}
		case depth == 1 && e.IsDir() && strings.HasSuffix(d.path, "/data/sandbox"):
			// layers/, refs/: the store's own folders may stay, empty
		default:
			leaks = append(leaks, "state: "+path)
			if e.IsDir() {
				return fs.SkipDir
			}
		}
		return nil
	})
	if err != nil {
		leaks = append(leaks, fmt.Sprintf("state: walk %q: %v", d.path, err))
	}
	return leaks
}

// leaks is the whole check, for a script that is still running or has ended.
func (s *scriptState) leaks() []string {
	except := map[int]bool{}
	for _, b := range s.background {
		select {
		case <-b.done:
		default:
			except[b.cmd.Process.Pid] = true
		}
	}
	var leaks []string
	for _, p := range leakedProcesses(except) {
		leaks = append(leaks, p.String())
	}
	for _, d := range s.stateDirs {
		leaks = append(leaks, d.leaks()...)
	}
	return append(leaks, takeSnapshot().since(s.baseline, isOurs)...)
}

// end runs after the last line of a script. What is left fails the script,
// and is ended, so that the next script does not pay for it.
func (s *scriptState) end(tb testing.TB) {
	if !tb.Failed() {
		for _, leak := range s.leaks() {
			tb.Errorf("left behind: %s", leak)
		}
	}
	tree := processTree()
	for _, p := range tree {
		if !p.isHolder() {
			_ = unix.Kill(p.pid, unix.SIGKILL) // reported above, or the script has failed
		}
	}
	// A holder that the script made for itself ends with it. When the script
	// ended the shared one, its last holder becomes the shared one.
	now := holderPIDs(tree)
	shared := slices.DeleteFunc(slices.Clone(now), func(pid int) bool {
		return !slices.Contains(s.harness.holders, pid)
	})
	if len(shared) == 0 && len(s.stateDirs) > 0 && !s.ownRuntimeDir() {
		s.harness.holders = now
		return
	}
	var extra []int
	for _, pid := range now {
		if !slices.Contains(shared, pid) {
			_ = unix.Kill(pid, unix.SIGKILL) // gone already is as good
			extra = append(extra, pid)
		}
	}
	for _, pid := range waitForExit(extra, releaseLimit) {
		tb.Errorf("left behind: holder process %d survives SIGKILL", pid)
	}
}

// ownRuntimeDir reports whether the script said runtimedir.
func (s *scriptState) ownRuntimeDir() bool {
	return slices.ContainsFunc(s.stateDirs[1:], func(d stateDir) bool {
		return strings.HasSuffix(d.path, "/run/sandbox")
	})
}

// TestLeakProcess plants an orphan in a session of its own.
func TestLeakProcess(t *testing.T) {
	out, err := exec.Command("/bin/sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!").Output()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	left := leakedProcesses(map[int]bool{})
	if !slices.ContainsFunc(left, func(p process) bool { return p.pid == pid && p.args == "sleep 1000" }) {
		t.Errorf("the orphan %d is not among %v", pid, left)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if left := leakedProcesses(map[int]bool{}); len(left) != 0 {
		t.Errorf("%v are left after the orphan's death", left)
	}
}

// TestLeakHolder shows that a process which looks like the holder is none of
// the leaks, and that one with more arguments is.
func TestLeakHolder(t *testing.T) {
	for _, tt := range []struct {
		args []string
		leak bool
	}{
		{[]string{"sandbox holder"}, false},
		{[]string{"sandbox"}, true},
	} {
		// argv[0] is all that sleep lets us choose; a holder shows two words.
		cmd := exec.Command("/bin/sleep", "1000")
		cmd.Args = append(tt.args, "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p, err := readProcess(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		p.args = strings.TrimSuffix(p.args, " 1000")
		if got := !p.isHolder(); got != tt.leak {
			t.Errorf("%q counts as a leak: %v, want %v", p.args, got, tt.leak)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Error("sleep survived its kill")
		}
	}
}

// TestLeakFiles plants files in a state directory and in the shared ones.
func TestLeakFiles(t *testing.T) {
	before := takeSnapshot()
	for _, dir := range sharedDirs {
		name := filepath.Join(dir, fmt.Sprintf("sandbox-leak-%d", os.Getpid()))
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Logf("%s is not tried: %v", dir, err)
			continue
		}
		leaks := takeSnapshot().since(before, isOurs)
		if err := os.Remove(name); err != nil {
			t.Error(err)
		}
		if !slices.Contains(leaks, "file: "+name) {
			t.Errorf("%q is not among %q", name, leaks)
		}
	}

	dir := t.TempDir()
	for _, sub := range []string{"data/sandbox/layers/x", "run/sandbox/holder", "run/sandbox/id"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"run/sandbox/holder/lock", "run/sandbox/id/lock"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		dir  stateDir
		want []string
	}{
		{stateDir{dir + "/run/sandbox", []string{"holder"}}, []string{"state: " + dir + "/run/sandbox/id"}},
		{stateDir{dir + "/data/sandbox", nil}, []string{"state: " + dir + "/data/sandbox/layers/x"}},
		{stateDir{dir + "/missing", nil}, nil},
	} {
		if got := tt.dir.leaks(); !slices.Equal(got, tt.want) {
			t.Errorf("%q: got %q, want %q", tt.dir.path, got, tt.want)
		}
	}
}

// TestLeakSnapshot compares made-up machines.
func TestLeakSnapshot(t *testing.T) {
	before := snapshot{
		mounts:  []string{"1 0 / /", "2 1 / /proc"},
		fuse:    []string{"40"},
		files:   map[string]bool{"/tmp/a": true},
		termios: &unix.Termios{Lflag: unix.ECHO},
	}
	after := snapshot{
		mounts:  []string{"1 0 / /", "3 1 / /mnt"},
		fuse:    []string{"40", "41"},
		files:   map[string]bool{"/tmp/a": true, "/tmp/b": true, "/tmp/c": true},
		termios: &unix.Termios{},
	}
	isOurs := func(path string) bool { return path != "/tmp/c" }
	got := after.since(before, isOurs)
	for i, want := range []string{"mount: new: 3 1 / /mnt", "mount: gone: 2 1 / /proc", "FUSE connection: 41", "file: /tmp/b", "terminal: "} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) {
			t.Fatalf("got %q, want %q at %d", got, want, i)
		}
	}
	if got := before.since(before, isOurs); len(got) != 0 {
		t.Errorf("a snapshot differs from itself: %q", got)
	}
}
