package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sandbox.example/sandbox"
)

func sampleReport() sandbox.Report {
	return sandbox.Report{
		Status: sandbox.CheckDegraded,
		Way:    "single",
		Ways: []sandbox.WayCheck{
			{Name: "holder", Status: sandbox.CheckMissing, Detail: "not in PATH", Cause: "newuidmap is not installed", Cure: "install it", Who: "administrator"},
			{Name: "single", Status: sandbox.CheckOK, Taken: true, Detail: "one id: 0 inside is 1000 outside"},
		},
		Checks: []sandbox.Check{
			{Name: "way", Status: sandbox.CheckDegraded, Needs: true, Detail: "single", Cause: "no \x1b[31mnewuidmap\nhere", Cure: "install it", Who: "administrator"},
			{Name: "store.runtime", Status: sandbox.CheckOK, Needs: true, Detail: `"/run/user/1000/sandbox" on tmpfs`},
		},
	}
}

func TestPrintReport(t *testing.T) {
	var b strings.Builder
	if err := printReport(&b, sampleReport()); err != nil {
		t.Fatal(err)
	}
	want := `degraded  way            single
          cause: no ?[31mnewuidmap?here
          cure (administrator): install it
ok        store.runtime  "/run/user/1000/sandbox" on tmpfs

ways into a user namespace, in the order tried (* is taken):
  holder  closed  newuidmap is not installed
* single  open    one id: 0 inside is 1000 outside

"sandbox run" works here, with less: way
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestReportJSON(t *testing.T) {
	var b strings.Builder
	if err := printJSON(&b, sampleReport()); err != nil {
		t.Fatal(err)
	}
	// The names are API.
	var got struct {
		Status, Way string
		Ways        []map[string]any
		Checks      []map[string]any
	}
	dec := json.NewDecoder(strings.NewReader(b.String()))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Status != "degraded" || got.Way != "single" {
		t.Errorf("%+v", got)
	}
	check := map[string]any{"name": "store.runtime", "status": "ok", "needs": true, "detail": `"/run/user/1000/sandbox" on tmpfs`}
	if diff := cmp.Diff(check, got.Checks[1]); diff != "" {
		t.Error(diff)
	}
	way := map[string]any{"name": "holder", "status": "missing", "taken": false, "detail": "not in PATH",
		"cause": "newuidmap is not installed", "cure": "install it", "who": "administrator"}
	if diff := cmp.Diff(way, got.Ways[0]); diff != "" {
		t.Error(diff)
	}
}

func TestVerdict(t *testing.T) {
	weak := sandbox.Check{Name: "fuse", Status: sandbox.CheckMissing}
	fatal := sandbox.Check{Name: "userns", Status: sandbox.CheckMissing, Needs: true}
	fine := sandbox.Check{Name: "proc", Status: sandbox.CheckOK}
	for want, checks := range map[string][]sandbox.Check{
		`"sandbox run" works here, with everything`: {fine},
		`"sandbox run" works here, with less: fuse`: {fine, weak},
		`"sandbox run" cannot work here: userns`:    {fine, weak, fatal},
	} {
		if got := verdict(sandbox.Report{Checks: checks}); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestPrintInfo(t *testing.T) {
	i := information{"v1", sandbox.Info{
		Go: "go1.26", Kernel: "6.1", Arch: "amd64", UID: 1000, GID: 100, Way: "single", WayWhy: "newuidmap is not installed",
		Dirs:     sandbox.Dirs{Data: "/d"},
		Holder:   &sandbox.HolderInfo{PID: 7, IdleSeconds: 3},
		Features: map[string]string{"fuse": "present"},
		Programs: map[string]string{"newuidmap": "", "getsubids": "/usr/bin/getsubids"},
	}}
	var b strings.Builder
	if err := printInfo(&b, i); err != nil {
		t.Fatal(err)
	}
	want := `version            v1, go1.26
kernel             6.1 amd64
user               uid 1000, gid 100
way in             single (newuidmap is not installed)
holder             pid 7, idle for 3 s
runtime directory  none yet
state directory    none yet
data directory     "/d"
cache directory    none yet
fuse               present
getsubids          "/usr/bin/getsubids"
newuidmap          not in PATH
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}
