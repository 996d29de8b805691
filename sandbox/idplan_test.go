package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"sandbox.example/sandbox/userns"
)

// A claim is a lock: only one has it, and who finds it free takes it away.
func TestClaims(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "1879048192")
	open := func() *os.File {
		t.Helper()
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	first := open()
	if !claimed(first) {
		t.Fatal("a new file cannot be claimed")
	}
	if claimed(open()) {
		t.Error("claimed twice")
	}
	if err := sweepClaims(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("a held claim was swept: %v", err)
	}
	// Opened by somebody, then its owner dies and a third one sweeps.
	late := open()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := sweepClaims(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a free claim was not swept: %v", err)
	}
	if claimed(late) {
		t.Error("claimed a file that others can no longer see")
	}
	if !claimed(open()) {
		t.Error("a new file of that name cannot be claimed")
	}
}

// Several sandboxes of root have several ranges, none of them given away by
// the administrator.
func TestFreeRange(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("ranges are taken by root only")
	}
	var undo closers
	defer func() {
		if err := undo.run(); err != nil {
			t.Error(err)
		}
	}()
	taken, err := subidRanges()
	if err != nil {
		t.Fatal(err)
	}
	var bases []int64
	for range 20 {
		base, err := freeRange(&undo)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(bases, base) || base < shiftFirst || base+shiftCount > 1<<31 || base%shiftCount != 0 {
			t.Errorf("range %d among %d", base, bases)
		}
		for _, r := range taken {
			if base < r.Outside+r.Count && r.Outside < base+shiftCount {
				t.Errorf("range %d overlaps %+v of /etc/subuid or /etc/subgid", base, r)
			}
		}
		if _, err := os.Stat(filepath.Join(mountsDir, "ids", strconv.FormatInt(base, 10))); err != nil {
			t.Error(err)
		}
		bases = append(bases, base)
	}
}

// In an idmapped mount files are made as the sandbox's root, with our own
// capabilities, and the thread is afterwards what it was.
func TestAsRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("idmapped mounts are for root")
	}
	ns, err := mappedNamespace(userns.Range{Inside: 0, Outside: shiftFirst, Count: shiftCount})
	if err != nil {
		t.Skipf("no user namespace: %v", err)
	}
	defer ns.Close()
	m := []userns.Range{{Inside: 0, Outside: shiftFirst, Count: shiftCount}}
	p := idPlan{ids: userns.IDs{UIDs: m, GIDs: m}, shifted: true, namespace: ns}
	dir := t.TempDir()
	// Somebody else's directory, which only a capability lets us write to.
	if err := os.Chown(dir, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	tree, err := cloneTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if err := p.shift(tree, false); err != nil {
		t.Skipf("the file system of %q has no idmapped mounts: %v", dir, err)
	}
	if err := makeEmpty(int(tree.Fd()), "by us", false); !errors.Is(err, unix.EOVERFLOW) {
		t.Errorf("made by our own uid: %v, want EOVERFLOW", err)
	}
	if err := p.asRoot(func() error { return makeEmpty(int(tree.Fd()), "dir", false) }); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, "dir"), &st); err != nil || st.Uid != 0 || st.Gid != 0 {
		t.Errorf("on disk it belongs to %d:%d, want 0:0 (%v)", st.Uid, st.Gid, err)
	}
	want := errors.New("of the function")
	err = p.asRoot(func() error {
		if uid, err := unix.SetfsuidRetUid(-1); err != nil || uid != shiftFirst {
			t.Errorf("inside the file system uid is %d (%v)", uid, err)
		}
		return want
	})
	if !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
	}
	for range 100 { // whatever thread runs this
		if uid, err := unix.SetfsuidRetUid(-1); err != nil || uid != 0 {
			t.Fatalf("a thread has the file system uid %d (%v)", uid, err)
		}
	}
}

func TestRequire(t *testing.T) {
	for _, tt := range []struct {
		entry userns.Entry
		words []string
		word  string // of the error, "" for none
	}{
		{userns.Entry{Way: userns.Held}, nil, ""},
		{userns.Entry{Way: userns.Root, Userns: "single"}, []string{"subuid"}, "subuid"},
		{userns.Entry{Way: userns.Root, Userns: "single"}, nil, ""},
	} {
		err := (&Engine{Entry: tt.entry}).require(t.Context(), tt.words)
		var missing *RequireError
		switch {
		case tt.word == "" && err != nil:
			t.Errorf("%q: %v", tt.words, err)
		case tt.word != "" && (!errors.As(err, &missing) || missing.Word != tt.word || missing.Cause == "" || missing.Cure == ""):
			t.Errorf("%q: %v, want an error about %s", tt.words, err, tt.word)
		}
	}
	if err := (&Engine{}).require(t.Context(), []string{"luck"}); err == nil {
		t.Error("an unknown word is not refused")
	}
}
