package sandbox

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sandbox.example/sandbox/userns"
)

func TestUserDirs(t *testing.T) {
	t.Setenv("HOME", "/home/ann")
	t.Setenv("XDG_STATE_HOME", "/var/state")
	t.Setenv("XDG_DATA_HOME", "relative/is/ignored")
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("XDG_RUNTIME_DIR", "/nowhere")
	want := Dirs{State: "/var/state/sandbox", Data: "/home/ann/.local/share/sandbox", Cache: "/home/ann/.cache/sandbox"}
	if diff := cmp.Diff(want, UserDirs()); diff != "" {
		t.Error(diff)
	}
}

func TestCheckDir(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "open", "sandbox")
	if err := errors.Join(os.MkdirAll(open, 0o700), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, dir, cause string
		want             room
		status           CheckStatus
	}{
		{name: "there", dir: dir, status: CheckOK},
		{name: "to be made", dir: dir + "/a/b/c", status: CheckOK},
		{name: "no home", dir: "", status: CheckMissing, cause: "HOME is not set"},
		{name: "below a file", dir: file + "/sandbox", status: CheckMissing, cause: "not a directory"},
		{name: "open to others", dir: open, status: CheckMissing, cause: "has mode 0777: others can write to it"},
		{name: "in proc", dir: "/proc/sandbox", status: CheckMissing, cause: `make a directory in "/proc": `},
		{name: "no room", dir: dir, want: room{bytes: 1 << 60}, status: CheckDegraded, cause: "are free"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := checkDir("store.cache", tt.dir, tt.want)
			if c.Status != tt.status || !strings.Contains(c.Cause, tt.cause) {
				t.Errorf("got %+v, want %s with %q", c, tt.status, tt.cause)
			}
			if c.Status != CheckOK && !strings.Contains(c.Cure, "XDG_CACHE_HOME") {
				t.Errorf("the cure %q does not name the variable", c.Cure)
			}
		})
	}
}

func TestTempDirSweeps(t *testing.T) {
	base := filepath.Join(t.TempDir(), "a[b*") // no glob
	old, young := filepath.Join(base, tempPrefix+"old"), filepath.Join(base, tempPrefix+"young")
	for _, dir := range []string{old + "/work/work", young} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	hourAgo := time.Now().Add(-time.Hour)
	// As overlayfs leaves its work directory.
	if err := errors.Join(os.Chmod(old+"/work/work", 0), os.Chtimes(old, hourAgo, hourAgo)); err != nil {
		t.Fatal(err)
	}
	dir, err := tempDir(base)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a killed doctor left is still there: %v", err)
	}
	for _, keep := range []string{young, dir} {
		if _, err := os.Stat(keep); err != nil {
			t.Error(err)
		}
	}
}

func TestBounded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	hang := make(chan struct{})
	defer close(hang)
	cancel()
	if got := bounded(ctx, func() string { <-hang; return "late" }, "no answer"); got != "no answer" {
		t.Errorf("a look that hangs gave %q", got)
	}
	if got := bounded(t.Context(), func() string { return "found" }, "no answer"); got != "found" {
		t.Errorf("a look that ends gave %q", got)
	}
}

func TestConclude(t *testing.T) {
	single := userns.Look{Expected: userns.Single, Why: "newuidmap is not installed",
		NewUIDMap: userns.Finding{Cause: "x", Cure: "install it", Who: userns.Administrator},
		Ways:      []userns.WayIn{{Way: userns.Single, Taken: true, Finding: userns.Finding{Detail: "one id"}}}}
	held := userns.Look{Expected: userns.Held,
		Ways: []userns.WayIn{{Way: userns.Held, Taken: true, Finding: userns.Finding{Detail: "65537 ids"}}}}
	broken := newCheck("namespaces", "refused").missing("AppArmor", "a profile", userns.Administrator).needed()
	weak := newCheck("fuse", "none").missing("no device", "modprobe fuse", userns.Administrator)
	tests := []struct {
		name   string
		look   userns.Look
		checks []Check
		status CheckStatus
		way    string
		cure   string
	}{
		{"all is well", held, []Check{newCheck("fuse", "works")}, CheckOK, "holder", ""},
		{"something optional is missing", held, []Check{weak}, CheckDegraded, "holder", ""},
		{"one id", single, nil, CheckDegraded, "single", "install it"},
		{"namespaces without rights", held, []Check{weak, broken}, CheckMissing, "none", "a profile"},
		{"no way at all", userns.Look{Expected: userns.None, Why: "SANDBOX_USERNS is odd"}, nil, CheckMissing, "none", "unset SANDBOX_USERNS"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := Report{Checks: tt.checks}
			r.conclude(tt.look)
			if r.Status != tt.status || r.Way != tt.way {
				t.Errorf("status %s by way %q, want %s by %q", r.Status, r.Way, tt.status, tt.way)
			}
			if way := r.Checks[0]; way.Name != "way" || !strings.Contains(way.Cure, tt.cure) {
				t.Errorf("first check is %+v, want the way with cure %q", way, tt.cure)
			}
		})
	}
}

func TestRunProbeByHand(t *testing.T) {
	if err := RunProbe("nothing", os.Stderr); err == nil || !strings.Contains(err.Error(), "no such probe") {
		t.Errorf("an unknown probe: %v", err)
	}
	if os.Geteuid() == 0 && readFile(t, "/proc/self/setgroups") == "allow\n" {
		if err := RunProbe(probeTun, os.Stderr); err == nil || !strings.Contains(err.Error(), "not by hand") {
			t.Errorf("a probe outside of a user namespace: %v", err)
		}
	}
}

func TestDescribe(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	info, err := Describe()
	if err != nil {
		t.Fatal(err)
	}
	if info.Holder != nil || info.Way == "" || info.Kernel == "" || info.Features["cgroup"] == "" {
		t.Errorf("%+v", info)
	}
}
