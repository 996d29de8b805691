package sandbox

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stubBed is a runtime directory with two sandboxes, and a directory of the
// host with an old time.
type stubBed struct {
	*testing.T
	a, b *stubs
	dir  string
	view *os.File
}

func newStubBed(t *testing.T) stubBed {
	t.Helper()
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	bed := stubBed{T: t, dir: filepath.Join(base, "host")}
	for _, d := range []string{"run", "run/aaaaaaaaaaaa", "run/bbbbbbbbbbbb", "host"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	bed.a = &stubs{stateDir: filepath.Join(base, "run/aaaaaaaaaaaa")}
	bed.b = &stubs{stateDir: filepath.Join(base, "run/bbbbbbbbbbbb")}
	old := time.Unix(1e9, 0)
	if err := os.Chtimes(bed.dir, old, old); err != nil {
		t.Fatal(err)
	}
	if bed.view, err = os.OpenFile(bed.dir, unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bed.view.Close() })
	return bed
}

func (bed stubBed) make(s *stubs, name string, file bool) {
	bed.Helper()
	if err := s.make(bed.view, bed.dir, name, file); err != nil {
		bed.Fatal(err)
	}
}

// names lists the host directory, and checks the journal's end.
func (bed stubBed) remove(s *stubs) []string {
	bed.Helper()
	if err := s.remove(); err != nil {
		bed.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(s.stateDir, journalName)); !os.IsNotExist(err) {
		bed.Errorf("the journal is still there: %v", err)
	}
	return bed.names()
}

func (bed stubBed) names() []string {
	bed.Helper()
	entries, err := os.ReadDir(bed.dir)
	if err != nil {
		bed.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (bed stubBed) isOld() bool {
	bed.Helper()
	fi, err := os.Stat(bed.dir)
	if err != nil {
		bed.Fatal(err)
	}
	return fi.ModTime().Equal(time.Unix(1e9, 0))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestStubsAreRemoved(t *testing.T) {
	bed := newStubBed(t)
	bed.make(bed.a, "dir", false)
	bed.make(bed.a, "file", true)
	if got := bed.names(); !slices.Equal(got, []string{"dir", "file"}) || bed.isOld() {
		t.Fatalf("made %q", got)
	}
	if got := bed.remove(bed.a); len(got) > 0 {
		t.Errorf("left: %q", got)
	}
	if !bed.isOld() {
		t.Error("the directory's time was not put back")
	}
	if err := bed.a.make(bed.view, filepath.Dir(bed.dir), "x", false); err == nil {
		t.Error("a directory that is not the one of the view is not refused")
	}
}

// Between making and removing, everything may have been swapped.
func TestStubsThatChangedStay(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, stub string) error{
		"written to": func(t *testing.T, stub string) error { return os.WriteFile(stub+"/f", nil, 0o600) },
		"a directory with the same name": func(t *testing.T, stub string) error {
			must(t, os.Rename(stub, stub+"-old")) // keeps the inode number in use
			return os.Mkdir(stub, 0o755)
		},
		// The inode number may be the same again: the time of birth is not.
		"a directory with the same inode": func(t *testing.T, stub string) error {
			must(t, os.Remove(stub))
			return os.Mkdir(stub, 0o755)
		},
		"a file": func(t *testing.T, stub string) error {
			must(t, os.Remove(stub))
			return os.WriteFile(stub, nil, 0o600)
		},
		"a symlink to an empty directory": func(t *testing.T, stub string) error {
			must(t, os.Rename(stub, stub+"-old"))
			return os.Symlink(stub+"-old", stub)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bed := newStubBed(t)
			bed.make(bed.a, "stub", false)
			must(t, change(t, filepath.Join(bed.dir, "stub")))
			if got := bed.remove(bed.a); !slices.Contains(got, "stub") {
				t.Errorf("left: %q", got)
			}
			if bed.isOld() {
				t.Error("the time of a directory that others have changed was put back")
			}
		})
	}
	t.Run("a file that was written to", func(t *testing.T) {
		bed := newStubBed(t)
		bed.make(bed.a, "stub", true)
		must(t, os.WriteFile(filepath.Join(bed.dir, "stub"), []byte("x"), 0o600))
		if got := bed.remove(bed.a); len(got) != 1 {
			t.Errorf("left: %q", got)
		}
	})
	t.Run("a file that was linked to", func(t *testing.T) {
		bed := newStubBed(t)
		bed.make(bed.a, "stub", true)
		must(t, os.Link(filepath.Join(bed.dir, "stub"), filepath.Join(bed.dir, "link")))
		if got := bed.remove(bed.a); len(got) != 2 {
			t.Errorf("left: %q", got)
		}
	})
	t.Run("another parent", func(t *testing.T) {
		bed := newStubBed(t)
		bed.make(bed.a, "stub", false)
		must(t, os.Rename(bed.dir, bed.dir+"-moved"))
		must(t, os.Mkdir(bed.dir, 0o755))
		must(t, os.Rename(bed.dir+"-moved/stub", bed.dir+"/stub")) // even the very stub
		if got := bed.remove(bed.a); len(got) != 1 {
			t.Errorf("left: %q", got)
		}
	})
	t.Run("a parent through a symlink", func(t *testing.T) {
		bed := newStubBed(t)
		bed.make(bed.a, "stub", false)
		must(t, os.Rename(bed.dir, bed.dir+"-moved"))
		must(t, os.Symlink(bed.dir+"-moved", bed.dir))
		if got := bed.remove(bed.a); len(got) != 1 {
			t.Errorf("left: %q", got)
		}
	})
}

// A SIGKILL leaves what one of the journal's states and the step behind it
// have made.
func TestStubsAfterKill(t *testing.T) {
	for _, file := range []bool{false, true} {
		bed := newStubBed(t)
		bed.make(bed.a, "stub", file)
		full := bed.a.list[0]
		announced, unnamed := full, full
		announced.Dev, announced.Ino, announced.Born, announced.MadeMtime = 0, 0, timestamp{}, timestamp{}
		unnamed.MadeMtime = timestamp{}
		named, temp := filepath.Join(bed.dir, full.Name), filepath.Join(bed.dir, full.TempName)
		for _, step := range []struct {
			name    string
			journal stub
			there   string
		}{
			{"nothing made", announced, ""},
			{"made", announced, temp},
			{"made and journaled", unnamed, temp},
			{"named", unnamed, named},
			{"done", full, named},
		} {
			must(t, os.Remove(named))
			if step.there != "" { // the same inode for all of them is not to be had
				must(t, makeEmpty(unix.AT_FDCWD, step.there, file))
				st, born, err := statEntry(unix.AT_FDCWD, step.there)
				must(t, err)
				if step.journal.Ino != 0 {
					step.journal.Dev, step.journal.Ino, step.journal.Born = st.Dev, st.Ino, born
				}
			}
			b, err := json.Marshal([]stub{step.journal})
			must(t, err)
			must(t, os.WriteFile(filepath.Join(bed.a.stateDir, journalName), b, 0o600))
			must(t, removeStubs(bed.a.stateDir))
			if got := bed.names(); len(got) > 0 {
				t.Errorf("file %v, %s: left %q", file, step.name, got)
			}
			must(t, makeEmpty(unix.AT_FDCWD, named, file))
		}
	}
}

// What two sandboxes use is removed by the last one.
func TestStubsAreShared(t *testing.T) {
	bed := newStubBed(t)
	bed.make(bed.a, "stub", false)
	must(t, bed.b.adopt(filepath.Join(bed.dir, "stub", "below")))
	must(t, bed.b.adopt(filepath.Join(bed.dir, "stub"))) // twice is once
	if len(bed.b.list) != 1 {
		t.Fatalf("adopted %v", bed.b.list)
	}
	must(t, bed.b.adopt(filepath.Join(bed.dir, "stubborn")))
	must(t, bed.b.adopt(bed.dir))
	if len(bed.b.list) != 1 {
		t.Fatalf("adopted what is not on the way: %v", bed.b.list)
	}
	if got := bed.remove(bed.a); len(got) != 1 {
		t.Errorf("the one that made it left %q", got)
	}
	if got := bed.remove(bed.b); len(got) != 0 {
		t.Errorf("the last one left %q", got)
	}
	if !bed.isOld() {
		t.Error("the directory's time was not put back")
	}
}
