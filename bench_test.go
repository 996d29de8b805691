//go:build bench

// The benchmarks of the product against its peers, run by "make bench" as
//
//	go test -tags bench -run '^TestBench$' -v -timeout 60m .
//
// Everything is judged by ratios that were measured side by side in one run: the cases of a
// group take turns, and medians are compared. Environment: SANDBOX_BIN names the binary
// (default bin/sandbox), N multiplies the number of samples, FULL=1 sends 8 GiB through the
// pipe in each sample instead of 256 MiB.
//
//	bench_test.go         what is measured: groups, and the rows that judge them
//	bench_run_test.go     how one case is measured, and the interleaving
//	bench_pipe_test.go    the stream through a command
//	bench_peers_test.go   the peers and what they need
//	bench_proc_test.go    processes and their memory
//	bench_stage_test.go   the place: user, cgroup, clean-up
//	bench_report_test.go  the table and docs/bench.json
package main_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// TestBench prints the table and writes docs/bench.json. A limit that is missed is shown, not
// failed, because this is no timed test; a case of the product that cannot run fails it.
func TestBench(t *testing.T) {
	if text, ok := os.LookupEnv(benchStageEnv); ok {
		benchMeasure(t, text)
		return
	}
	benchPrepare(t)
}

// benchConfig is what the caller chose through the environment.
type benchConfig struct {
	Binary string // the product
	Scale  int    // multiplies every count
	Pipe   benchPipeLoad
}

func benchConfigFromEnv() (benchConfig, error) {
	cfg := benchConfig{
		Binary: filepath.Join("bin", "sandbox"),
		Scale:  1,
		Pipe:   benchPipeLoad{Bytes: 256 << 20, Steady: true, Samples: 100},
	}
	if v := os.Getenv("SANDBOX_BIN"); v != "" {
		cfg.Binary = v
	}
	if v := os.Getenv("N"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 1000 {
			return cfg, fmt.Errorf("parse N=%q: want a whole number from 1 to 1000", v)
		}
		cfg.Scale = n
	}
	switch v := os.Getenv("FULL"); v {
	case "", "0":
	case "1":
		cfg.Pipe = benchPipeLoad{Bytes: 8 << 30, Samples: 20}
	default:
		return cfg, fmt.Errorf("parse FULL=%q: want 0 or 1", v)
	}
	return cfg, nil
}

// benchRow judges one series, alone or against a peer's. Must and Aim are upper limits of the
// ratio (of the value itself where there is no peer); 0 is no limit.
type benchRow struct {
	Case string
	Ours string // name of a series
	Peer string // name of a series of the same group, or ""
	Must float64
	Aim  float64
}

// benchRows is the table of limits. crun and runc take no seccomp filter from their own
// "spec --rootless", so the limits are held against them without one, which is the harder
// comparison, and again with docker's default profile, which is what we install ourselves.
func benchRows() []benchRow {
	return []benchRow{
		{Case: "run / crun", Ours: "start: sandbox run", Peer: "start: crun", Must: 1.7, Aim: 1.45},
		{Case: "run / crun, seccomp", Ours: "start: sandbox run", Peer: "start: crun, seccomp", Must: 1.7, Aim: 1.45},
		{Case: "run / crun, all ids", Ours: "start: sandbox run", Peer: "start: crun, all ids"},
		{Case: "run / runc", Ours: "start: sandbox run", Peer: "start: runc", Must: 0.8, Aim: 0.65},
		{Case: "run / runc, seccomp", Ours: "start: sandbox run", Peer: "start: runc, seccomp", Must: 0.8, Aim: 0.65},
		{Case: "run / runc, all ids", Ours: "start: sandbox run", Peer: "start: runc, all ids"},
		{Case: "run / podman run --rootfs", Ours: "podman: sandbox run", Peer: "podman: podman", Must: 0.15},
		{Case: "run / bwrap", Ours: "start: sandbox run", Peer: "start: bwrap"},
		{Case: "run, host root / bwrap", Ours: "start: sandbox run, host root", Peer: "start: bwrap, host root"},
		{Case: "run, host root / firejail", Ours: "start: sandbox run, host root", Peer: "start: firejail"},
		{Case: "run / nsjail", Ours: "start: sandbox run", Peer: "start: nsjail"},
		{Case: "run / sandbox version", Ours: "start: sandbox run", Peer: "start: sandbox version"},
		{Case: "very first run / runc", Ours: "first: sandbox run", Peer: "first: runc", Must: 3, Aim: 1.2},
		{Case: "very first run / runc, seccomp", Ours: "first: sandbox run", Peer: "first: runc, seccomp", Must: 3, Aim: 1.2},
		{Case: "run --holder=off / runc", Ours: "first: sandbox run --holder=off", Peer: "first: runc"},
		{Case: "version / bwrap --unshare-all", Ours: "start: sandbox version", Peer: "start: bwrap, bare", Must: 1.1, Aim: 0.6},
		{Case: "pipe through cat / no sandbox", Ours: "pipe: sandbox run", Peer: "pipe: no sandbox", Must: 1.05},
		{Case: "PSS, one sandbox with its holder", Ours: "memory: one sandbox", Must: 20, Aim: 14},
		{Case: "PSS, each of five sandboxes", Ours: "memory: each of five", Must: 7, Aim: 4.5},
		{Case: "PSS, idle holder", Ours: "memory: idle holder", Must: 2, Aim: 0.6},
		{Case: "bind mount, each of 100 / bwrap", Ours: "bind: sandbox run -v, each", Peer: "bind: bwrap --bind, each"},
		{Case: "bind mount, each of 100 / version", Ours: "bind: sandbox run -v, each", Peer: "bind: sandbox version", Must: 0.2 / benchVersionMillis},
		{Case: "the same, targets there / version", Ours: "bind: sandbox run -v, target there, each", Peer: "bind: sandbox version", Must: 0.2 / benchVersionMillis},
		{Case: "bind mount, 50-100 / 1-50", Ours: "bind: sandbox run -v, 50-100", Peer: "bind: sandbox run -v, 0-50", Must: benchLinear},
	}
}

// benchVersionMillis turns a limit in milliseconds into a multiple of "sandbox version": the same
// on slow, fast and busy machines.
const benchVersionMillis = 3

// benchLinear is how much dearer a mount of the upper half may be than one of the lower half
// for the cost to count as linear; a cost that grew with the number of mounts would give 3.
const benchLinear = 1.5

// benchMeasure does the whole work: it runs in the process that benchPrepare started.
func benchMeasure(t *testing.T, stageText string) {
	stage, err := parseBenchStage(stageText)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := benchConfigFromEnv()
	if err != nil {
		t.Fatal(err)
	}
	r, err := newBenchRunner(stage)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	}()
	peers, err := newBenchPeers(r, cfg.Binary)
	if err != nil {
		t.Fatal(err)
	}

	var series []*benchSeries
	for _, g := range benchGroups(r, peers, cfg) {
		fmt.Printf("bench: %s: %d cases × %d\n", g.Name, len(g.Cases), g.Samples)
		g.run(r)
		for _, c := range g.Cases {
			series = append(series, c.series(g))
		}
	}
	measured := series
	series = append(series, benchBindSlopes(series)...)

	report := newBenchReport(stage, peers, series, benchRows())
	fmt.Print(report.text())
	some := false
	for _, s := range measured {
		if !s.Ours {
			continue
		}
		if s.Error != "" {
			t.Errorf("measure %q: %s", s.Name, s.Error)
		}
		some = some || s.Error == ""
	}
	if !some {
		return // the record of an earlier run is worth more than an empty one
	}
	if err := report.write(filepath.Join("docs", "bench.json")); err != nil {
		t.Error(err)
	}
}

// benchGroups lists all measurements. Cases that are compared with each other are in one group.
func benchGroups(r *benchRunner, p *benchPeers, cfg benchConfig) []*benchGroup {
	run := p.sandboxRun
	return []*benchGroup{
		{
			Name: "start", Unit: "ms", Samples: 40 * cfg.Scale,
			Cases: []*benchCase{
				r.command("sandbox run", true, run("/bin/true")),
				r.command("sandbox run, host root", true, p.sandbox("run", "--", "/bin/true")),
				r.command("sandbox version", true, p.sandbox("version")),
				r.command("crun", false, p.oci("crun", ociOptions{})),
				r.command("runc", false, p.oci("runc", ociOptions{})),
				r.command("crun, seccomp", false, p.oci("crun", ociOptions{Seccomp: true})),
				r.command("runc, seccomp", false, p.oci("runc", ociOptions{Seccomp: true})),
				r.command("crun, all ids", false, p.oci("crun", ociOptions{AllIDs: true})),
				r.command("runc, all ids", false, p.oci("runc", ociOptions{AllIDs: true})),
				r.command("bwrap", false, p.bwrap("--proc", "/proc", "--dev", "/dev", "/bin/true")),
				r.command("bwrap, bare", false, p.bwrap("/bin/true")),
				r.command("bwrap, host root", false, p.bwrapHost()),
				r.command("firejail", false, p.firejail()),
				r.command("nsjail", false, p.nsjail()),
			},
		},
		{
			Name: "podman", Unit: "ms", Samples: 20 * cfg.Scale, Settle: true,
			Cases: []*benchCase{
				r.command("sandbox run", true, run("/bin/true")),
				r.command("podman", false, p.podman()),
			},
		},
		{
			Name: "first", Unit: "ms", Samples: 20 * cfg.Scale,
			Cases: []*benchCase{
				r.firstRun("sandbox run", p, run("/bin/true")),
				r.command("sandbox run --holder=off", true, p.sandbox("run", "--holder=off", "dir:"+p.Root, "--", "/bin/true")),
				r.command("runc", false, p.oci("runc", ociOptions{})),
				r.command("runc, seccomp", false, p.oci("runc", ociOptions{Seccomp: true})),
			},
		},
		{Name: "bind", Unit: "ms", Samples: 20 * cfg.Scale, Cases: benchBindCases(r, p)},
		{
			Name: "pipe", Unit: "s", Samples: cfg.Pipe.Samples * cfg.Scale,
			Cases: []*benchCase{
				r.pipe("sandbox run", true, run("/bin/cat"), cfg.Pipe),
				r.pipe("no sandbox", false, benchArgv{Args: []string{filepath.Join(p.Root, "bin", "busybox"), "cat"}}, cfg.Pipe),
			},
		},
		{
			Name: "memory", Unit: "MB", Samples: 20 * cfg.Scale,
			Cases: []*benchCase{
				r.memory("one sandbox", run("/bin/sh", "-c", benchSleeper), 1),
				r.memory("each of five", run("/bin/sh", "-c", benchSleeper), 5),
				r.idleHolder("idle holder", run("/bin/true")),
			},
		},
	}
}

// benchBindCounts are the numbers of bind mounts that are measured; the first five lines of the
// cost of the 1st to the 100th mount.
var benchBindCounts = [...]int{0, 1, 10, 50, 100}

// benchBindKinds are the commands whose bind mounts are counted.
var benchBindKinds = [...]struct {
	name string
	ours bool
}{
	{"sandbox run -v", true},
	{"sandbox run -v, target there", true},
	{"bwrap --bind", false},
}

func benchBindCases(r *benchRunner, p *benchPeers) []*benchCase {
	argv := [...]func(int) benchArgv{
		func(n int) benchArgv { return p.sandboxBinds(n, p.Root) },
		func(n int) benchArgv { return p.sandboxBinds(n, p.TargetRoot) },
		p.bwrapBinds,
	}
	cases := []*benchCase{r.command("sandbox version", true, p.sandbox("version"))}
	for _, n := range benchBindCounts {
		for i, kind := range benchBindKinds {
			cases = append(cases, r.command(benchBindName(kind.name, n), kind.ours, argv[i](n)))
		}
	}
	return cases
}

func benchBindName(kind string, n int) string { return fmt.Sprintf("%s ×%d", kind, n) }

// benchBindSlopes derives what one mount costs, over all counts and over each half, from the
// medians of the bind group.
func benchBindSlopes(all []*benchSeries) []*benchSeries {
	byName := make(map[string]*benchSeries, len(all))
	for _, s := range all {
		byName[s.Name] = s
	}
	spans := [...]struct {
		name     string
		from, to int
	}{
		{"each", 0, 100},
		{"0-50", 0, 50},
		{"50-100", 50, 100},
	}
	var derived []*benchSeries
	for _, kind := range benchBindKinds {
		for _, span := range spans {
			out := &benchSeries{Name: fmt.Sprintf("bind: %s, %s", kind.name, span.name), Unit: "ms/mount", Ours: kind.ours}
			var points []benchPoint
			var problems []error
			for _, n := range benchBindCounts {
				if n < span.from || n > span.to {
					continue
				}
				s := byName["bind: "+benchBindName(kind.name, n)]
				if s.Error != "" {
					problems = append(problems, fmt.Errorf("with %d mounts: %s", n, s.Error))
				}
				points = append(points, benchPoint{x: float64(n), y: s.Median})
			}
			if err := errors.Join(problems...); err != nil {
				out.Error = benchFirstLine(err.Error())
			} else {
				out.Median = benchSlope(points)
			}
			derived = append(derived, out)
		}
	}
	return derived
}
