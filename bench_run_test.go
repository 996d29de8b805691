//go:build bench

package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	benchSampleLimit = time.Minute // a command that takes longer has hung
	benchWarmups     = 3           // unmeasured rounds: caches fill, the holder is made
)

// benchArgv is a command, or why there is none.
type benchArgv struct {
	Args []string // Args[0] is a path
	Err  error
}

// benchCase is one thing to measure. It keeps its own values, and its first error ends it
// without disturbing the others.
type benchCase struct {
	Name   string
	Ours   bool                    // a case of the product, whose failure fails the run
	Before func() error            // not measured; nil: nothing
	Sample func() (float64, error) // one value, in the unit of the group
	values []float64
	err    error
}

// benchGroup is a set of cases that are measured in turns: A B C, B C A, C A B, …
type benchGroup struct {
	Name    string
	Unit    string
	Samples int
	Settle  bool // wait, after each sample, for what the command left running behind it
	Cases   []*benchCase
}

// run fills the values of all cases of g.
func (g *benchGroup) run(r *benchRunner) {
	for range benchWarmups {
		for _, c := range g.Cases {
			c.once()
		}
	}
	for _, c := range g.Cases {
		c.values = c.values[:0]
	}
	base, err := benchDescendants(r.stage.Keeper)
	if err != nil {
		for _, c := range g.Cases {
			c.err = errors.Join(c.err, err)
		}
		return
	}
	for i := range g.Samples {
		for k := range g.Cases {
			c := g.Cases[(i+k)%len(g.Cases)]
			c.once()
			if g.Settle && c.err == nil {
				c.err = r.settle(base)
			}
		}
	}
}

func (c *benchCase) once() {
	if c.err != nil {
		return
	}
	if c.Before != nil {
		if c.err = c.Before(); c.err != nil {
			return
		}
	}
	v, err := c.Sample()
	if err != nil {
		c.err = err
		return
	}
	c.values = append(c.values, v)
}

// benchSeries is what one case gave. Its fields are those of docs/bench.json.
type benchSeries struct {
	Error     string  `json:"error,omitempty"`
	Median    float64 `json:"median"`
	Name      string  `json:"name"` // "group: case"
	Ours      bool    `json:"ours"`
	P10       float64 `json:"p10,omitempty"`
	P90       float64 `json:"p90,omitempty"`
	Samples   int     `json:"samples"`
	Unit      string  `json:"unit"`
	XVersions float64 `json:"xVersions,omitempty"` // median / median of `sandbox version`, for times
}

func (c *benchCase) series(g *benchGroup) *benchSeries {
	s := &benchSeries{Name: g.Name + ": " + c.Name, Unit: g.Unit, Ours: c.Ours, Samples: len(c.values)}
	if c.err != nil {
		s.Error = benchFirstLine(c.err.Error())
		return s
	}
	s.Median = benchQuantile(c.values, 0.5)
	s.P10 = benchQuantile(c.values, 0.1)
	s.P90 = benchQuantile(c.values, 0.9)
	return s
}

// benchQuantile interpolates between the two values next to the q-th part of the sorted values.
func benchQuantile(values []float64, q float64) float64 {
	v := slices.Sorted(slices.Values(values))
	at := q * float64(len(v)-1)
	i := int(at)
	if i+1 >= len(v) {
		return v[len(v)-1]
	}
	return v[i] + (at-float64(i))*(v[i+1]-v[i])
}

type benchPoint struct{ x, y float64 }

// benchSlope is the slope of the least-squares line through points.
func benchSlope(points []benchPoint) float64 {
	var sx, sy float64
	for _, p := range points {
		sx += p.x
		sy += p.y
	}
	n := float64(len(points))
	var num, den float64
	for _, p := range points {
		num += (p.x - sx/n) * (p.y - sy/n)
		den += (p.x - sx/n) * (p.x - sx/n)
	}
	return num / den
}

// benchRunner starts commands as the benchmark's user, in its environment.
type benchRunner struct {
	stage *benchStage
	env   []string
	dir   string // working directory of every command
	null  *os.File
}

func newBenchRunner(stage *benchStage) (*benchRunner, error) {
	r := &benchRunner{stage: stage, dir: filepath.Join(stage.Dir, "cwd")}
	home, runtimeDir := filepath.Join(stage.Dir, "home"), filepath.Join(stage.Dir, "run")
	for _, dir := range []string{r.dir, home, runtimeDir} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make directory for the benchmark's user: %w", err)
		}
		if err := os.Lchown(dir, stage.UID, stage.GID); err != nil {
			return nil, fmt.Errorf("give directory to the benchmark's user: %w", err)
		}
	}
	r.env = []string{
		"HOME=" + home,
		"LANG=C",
		"LOGNAME=" + stage.User,
		"PATH=" + strings.Join(benchPath(), ":"),
		"USER=" + stage.User,
		"XDG_RUNTIME_DIR=" + runtimeDir,
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	r.null = null
	return r, nil
}

func (r *benchRunner) close() error { return r.null.Close() }

// sysAttr drops from root to the benchmark's user; an ordinary caller stays who it is.
func (r *benchRunner) sysAttr() *syscall.SysProcAttr {
	if !r.stage.Drop {
		return nil
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(r.stage.UID), Gid: uint32(r.stage.GID)}}
}

// output runs a command that is not measured and returns its stdout.
func (r *benchRunner) output(dir string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = dir, r.env, r.sysAttr()
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// A process that stays behind (a holder, podman's pause process) may keep the pipes.
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("start %q: %w", filepath.Base(args[0]), err)
	}
	timer := time.AfterFunc(benchSampleLimit, func() { cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Wait(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		text := benchErrorLine(stderr.String() + stdout.String()) // firejail reports on stdout
		return "", fmt.Errorf("run %q: %w: %s", filepath.Base(args[0]), err, r.stage.anonymous(text))
	}
	return stdout.String(), nil
}

// start starts args with the three given descriptors; nil is /dev/null.
func (r *benchRunner) start(args []string, files [3]*os.File) (*os.Process, error) {
	for i := range files {
		if files[i] == nil {
			files[i] = r.null
		}
	}
	p, err := os.StartProcess(args[0], args, &os.ProcAttr{Dir: r.dir, Env: r.env, Files: files[:], Sys: r.sysAttr()})
	if err != nil {
		return nil, fmt.Errorf("start %q: %w", filepath.Base(args[0]), err)
	}
	return p, nil
}

// wait waits for p, at most limit, and wants exit code 0.
func (r *benchRunner) wait(p *os.Process, limit time.Duration) error {
	timer := time.AfterFunc(limit, func() { p.Kill() })
	state, err := p.Wait()
	inTime := timer.Stop()
	switch {
	case err != nil:
		return fmt.Errorf("wait for process %d: %w", p.Pid, err)
	case !inTime:
		return fmt.Errorf("killed after %s", limit)
	case !state.Success():
		return errors.New(state.String())
	}
	return nil
}

// command measures the wall time of one command from start to end, in ms.
func (r *benchRunner) command(name string, ours bool, argv benchArgv) *benchCase {
	c := &benchCase{Name: name, Ours: ours, err: argv.Err}
	tried := false
	c.Sample = func() (float64, error) {
		if !tried { // the first, unmeasured time it has a stderr, so that an error has its text
			tried = true
			_, err := r.output(r.dir, argv.Args...)
			return 0, err
		}
		began := time.Now()
		p, err := r.start(argv.Args, [3]*os.File{})
		if err != nil {
			return 0, err
		}
		err = r.wait(p, benchSampleLimit)
		return float64(time.Since(began)) / float64(time.Millisecond), err
	}
	return c
}

// firstRun measures a command that must make the holder: there is none before each sample.
func (r *benchRunner) firstRun(name string, p *benchPeers, argv benchArgv) *benchCase {
	c := r.command(name, true, argv)
	c.Before = func() error { return r.stopHolder(p) }
	return c
}

// benchFirstLine is what fits a table.
func benchFirstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// benchErrorLine is the first line of what a failed command said that is no warning of podman's.
func benchErrorLine(text string) string {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.Contains(line, "level=warning") {
			return line
		}
	}
	return "it says nothing"
}
