package userns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The letters of the holder's answer, by what went wrong.
func TestKindOf(t *testing.T) {
	failed := exec.Command("/bin/sh", "-c", "exit 1").Run()
	panicked := exec.Command("/bin/sh", "-c", "exit 2").Run()
	start := func(path string, errno syscall.Errno) error {
		return fmt.Errorf("failed to start the child: %w", &fs.PathError{Op: "fork/exec", Path: path, Err: errno})
	}
	for _, tt := range []struct {
		name string
		err  error
		kind byte
	}{
		{"no ranges", fmt.Errorf("%w: newuidmap is not installed", errNoRanges), 'n'},
		{"newuidmap refuses", fmt.Errorf("failed to setup UID/GID map: %w", failed), 'm'},
		{"newuidmap cannot be executed", start("/usr/bin/newuidmap", syscall.EACCES), 'e'},
		{"no user namespace", start("/proc/self/exe", syscall.ENOSPC), 'c'},
		{"the child panics", fmt.Errorf("child exited: %w", panicked), 'e'},
		{"no space", &fs.PathError{Op: "mkdir", Path: "/x", Err: syscall.ENOSPC}, 'e'},
		{"anything", errors.New("anything"), 'e'},
	} {
		kind, err := kindOf(tt.err)
		if kind != tt.kind {
			t.Errorf("%s: %q, want %q", tt.name, kind, tt.kind)
		}
		if kind == 'c' && err != error(syscall.ENOSPC) {
			t.Errorf("%s: %v, want the system's error alone", tt.name, err)
		}
	}
}

func TestIdleTicks(t *testing.T) {
	for seconds, want := range map[string]string{
		"": "0 0", "0": "0 0", "-1": "0 0", "x": "0 0",
		"1": "1 1", "2": "1 2", "15": "1 15", "20": "1 20", "30": "2 15", "900": "60 15", "86400": "5760 15",
	} {
		tick, ticks := idleTicks(seconds)
		if got := tick + " " + ticks; got != want {
			t.Errorf("%q: %s, want %s", seconds, got, want)
		}
	}
}

// A record that names no holder of ours is taken away, and nobody is hurt.
func TestStopHolder(t *testing.T) {
	dir := t.TempDir()
	if stopped, err := StopHolder(dir); stopped || err != nil {
		t.Errorf("without a directory: %v, %v", stopped, err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "holder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if stopped, err := StopHolder(dir); stopped || err != nil {
		t.Errorf("without a lock: %v, %v", stopped, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "holder", "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if stopped, err := StopHolder(dir); stopped || err != nil {
		t.Errorf("without a record: %v, %v", stopped, err)
	}

	victim := exec.Command("/bin/cat") // until its stdin ends
	stdin, err := victim.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	start, err := startTime(victim.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	record := filepath.Join(dir, "holder", "record")
	for _, text := range []string{
		fmt.Sprintf("%d %s\n", victim.Process.Pid, start), // in our own user namespace
		fmt.Sprintf("%d %s0\n", victim.Process.Pid, start),
		"4194304 1\n", // above every pid
	} {
		if err := os.WriteFile(record, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if stopped, err := StopHolder(dir); stopped || err != nil {
			t.Errorf("record %q: %v, %v", text, stopped, err)
		}
		if _, err := os.Stat(record); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("record %q is still there: %v", text, err)
		}
	}
	if err := os.WriteFile(record, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := StopHolder(dir); err == nil || !strings.Contains(err.Error(), record) {
		t.Errorf("rubbish: %v, want an error that names the file", err)
	}
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := victim.Wait(); err != nil {
		t.Errorf("the process that was named: %v, want a clean end", err)
	}
}

// sweepOnly spares a directory that somebody works in.
func TestSweepOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "only.1")
	if err := os.MkdirAll(filepath.Join(dir, "rootlesskit-1"), 0o700); err != nil {
		t.Fatal(err)
	}
	worker, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(worker.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := sweepOnly(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("swept while somebody works in it: %v", err)
	}
	if err := worker.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is none
		if err := sweepOnly(dir); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

// Every step has an error that names what was tried, and a hint.
func TestEntryErr(t *testing.T) {
	seen := map[string]bool{}
	for step := 1; step <= lastStep; step++ {
		e := Entry{Way: failed, step: step, errno: syscall.EPERM, CallerUID: 1000}
		var ee *EnterError
		if !errors.As(e.Err(), &ee) || ee.Hint == "" || ee.Error() == "" || strings.Contains(ee.Error(), "\n") {
			t.Errorf("step %d: %+v", step, e.Err())
			continue
		}
		seen[ee.Action] = true
	}
	if len(seen) < 10 {
		t.Errorf("several steps have the same text: %v", seen)
	}
	for _, way := range []Way{Held, Root, Nested, Single} {
		if err := (Entry{Way: way}).Err(); err != nil {
			t.Errorf("way %v: %v", way, err)
		}
	}
	if err := (Entry{}).Err(); err == nil {
		t.Error("no way at all is no error")
	}
}

func TestSingle(t *testing.T) {
	one := []Range{{0, 1000, 1}}
	many := []Range{{0, 1000, 1}, {1, 100000, 65536}}
	for _, tt := range []struct {
		ids  IDs
		want bool
	}{
		{IDs{one, one}, true}, {IDs{many, one}, true}, {IDs{one, many}, true}, {IDs{many, many}, false}, {IDs{}, true},
		{IDs{[]Range{{0, 0, 2}}, []Range{{0, 0, 2}}}, false},
	} {
		if got := tt.ids.Single(); got != tt.want {
			t.Errorf("%+v: %v", tt.ids, got)
		}
	}
}
