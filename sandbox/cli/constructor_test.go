package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"sandbox.example/sandbox/userns"
)

// readEnv makes the test binary print what it reads from its command line, and
// end.
const readEnv = "CLI_TEST_READ"

func TestMain(m *testing.M) {
	if os.Getenv(readEnv) != "" {
		if err := json.NewEncoder(os.Stdout).Encode(readTwice(os.Args[1:])); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// readings is what the constructor and the parser have read from one command
// line. Refused: the parser takes it for wrong, and nothing else matters.
type readings struct {
	Refused          bool
	Error            string
	Constructor      [2]string // --userns and --holder
	Parser           [2]string
	Inherited        []int // descriptors of --fd that were open
	ConstructorFound []int
}

func readTwice(args []string) readings {
	e := userns.Entered()
	r := readings{Constructor: [2]string{e.Userns, e.Holder}}
	var g globals
	parser, err := newParser(&g, args)
	if err != nil {
		return readings{Refused: true, Error: err.Error()}
	}
	flags, _, _ := splitCommand(parser.Model, args)
	kctx, err := parser.Parse(flags)
	if err != nil {
		return readings{Refused: true, Error: err.Error()}
	}
	run, ok := kctx.Selected().Target.Addr().Interface().(*runCmd)
	if !ok {
		return readings{Refused: true, Error: "another command"}
	}
	r.Parser = [2]string{cmp.Or(run.Userns, "auto"), cmp.Or(run.Holder, "auto")}
	for _, flag := range run.FD {
		fd, err := parseFD(flag)
		if err != nil {
			return readings{Refused: true, Error: err.Error()}
		}
		if fd.Number == inheritedFD {
			r.Inherited = append(r.Inherited, fd.Number)
		}
	}
	if userns.Inherited(inheritedFD) {
		r.ConstructorFound = append(r.ConstructorFound, inheritedFD)
	}
	return r
}

// inheritedFD is open in the child.
const inheritedFD = 3

// read starts this binary with a command line. Its constructor only reads:
// "run --dry-run" enters nothing.
func read(t *testing.T, env []string, words ...string) readings {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{"sandbox"}, words...)
	// With the race detector a process waits for a second when it ends.
	cmd.Env = append([]string{readEnv + "=1", "GORACE=atexit_sleep_ms=0"}, env...)
	cmd.ExtraFiles = []*os.File{os.Stdin}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v: %s", words, err, stderr.String())
	}
	var r readings
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%q: %v in %q", words, err, out)
	}
	return r
}

func (r readings) agree() bool {
	return r.Constructor == r.Parser && (len(r.Inherited) > 0) == (len(r.ConstructorFound) > 0)
}

// The command line is read twice: before Go starts by args.c, then by kong.
func TestReadTwice(t *testing.T) {
	none := [2]string{"auto", "auto"}
	tests := []struct {
		line string
		env  string
		want [2]string
	}{
		{"run --dry-run -- true", "", none},
		{"run --dry-run --userns=single -- true", "", [2]string{"single", "auto"}},
		{"run --dry-run --userns single true", "", [2]string{"single", "auto"}},
		{"run --userns single --dry-run --holder off -- true", "", [2]string{"single", "off"}},
		{"-q run --dry-run --holder=2s -- true", "", [2]string{"auto", "2s"}},
		{"--log-format json run --dry-run --holder=2s", "", [2]string{"auto", "2s"}},
		{"--log-format=json -q run --dry-run --holder 2s", "", [2]string{"auto", "2s"}},
		{"run --dry-run true --userns=single", "", none},
		{"run --dry-run -- true --userns=single", "", none},
		{"run --dry-run host --userns=single", "", none},
		{"run --dry-run - --userns=single", "", none},
		{"run --dry-run -e A=B --userns=single -- true", "", [2]string{"single", "auto"}},
		{"run --dry-run -e A -- --userns=single", "", none},
		{"run --dry-run -eA --userns=single -- true", "", [2]string{"single", "auto"}},
		{"run --dry-run -it --userns=single -- true", "", [2]string{"single", "auto"}},
		{"run --dry-run -itu 5 --userns=single -- true", "", [2]string{"single", "auto"}},
		{"run --dry-run -itu5 --userns=single -- true", "", [2]string{"single", "auto"}},
		{"run --dry-run -w /tmp -v /a:/b --userns=single -- true", "", [2]string{"single", "auto"}},
		{"run --dry-run --init=false --userns=single -- true", "", [2]string{"single", "auto"}},
		{"run --dry-run --no-init --userns=single -- true", "", [2]string{"single", "auto"}},
		{"run --dry-run --mount type=tmpfs,dst=/x --userns=single -- true", "", [2]string{"single", "auto"}},
		{"run --dry-run --userns=auto --userns=single -- true", "", [2]string{"single", "auto"}},
		{"run --dry-run --userns=single --userns=auto -- true", "", none},
		{"run --dry-run --hostname --userns=single -- true", "", [2]string{}}, // refused
		{"run --dry-run --fd 3 --userns=single -- true", "", [2]string{"single", "auto"}},
		{"run --dry-run --fd=3 -- true", "", none},
		{"run --dry-run -e A=--fd=3 -- true --fd 3", "", none},
		{"run --dry-run -- true", "SANDBOX_USERNS=single", [2]string{"single", "auto"}},
		{"run --dry-run --userns=auto -- true", "SANDBOX_USERNS=single", none},
		{"run --dry-run -- true", "SANDBOX_HOLDER=off", [2]string{"auto", "off"}},
		{"run --dry-run -- true", "SANDBOX_HOLDER=", none},
		{"run --dry-run --userns= -- true", "SANDBOX_USERNS=single", none},
	}
	for _, tt := range tests {
		var env []string
		if tt.env != "" {
			env = []string{tt.env}
		}
		r := read(t, env, strings.Fields(tt.line)...)
		switch {
		case r.Refused && tt.want == [2]string{}:
		case r.Refused:
			t.Errorf("%q %s: refused: %s", tt.line, tt.env, r.Error)
		case !r.agree() || r.Parser != tt.want:
			t.Errorf("%q %s: %+v, want %q", tt.line, tt.env, r, tt.want)
		}
	}
}

// TestReadTwiceRandom draws command lines from the words that matter.
func TestReadTwiceRandom(t *testing.T) {
	words := []string{
		"--userns", "--userns=single", "--userns=auto", "--userns=", "single", "auto", "--holder", "--holder=off", "--holder=90s", "off",
		"-e", "-eA=B", "-e=A", "A=B", "--env", "--env=A=B", "-i", "-t", "-it", "-itw", "/tmp", "-w", "-w/tmp", "-u", "0", "-u0",
		"--init", "--init=false", "--no-init", "--read-only", "--fd", "--fd=3", "3", "-q", "--quiet", "--log-format", "--log-format=json", "json",
		"-v", "/a:/b", "--tmpfs", "--timeout=3s", "--verbose", "--dry-run", "--", "-", "host", "", "--userns=single", "--holder=off", "--ro", "--rw-root",
	}
	n := 40
	if testing.Short() {
		n = 10
	}
	rng := rand.New(rand.NewPCG(1, 2))
	accepted := 0
	for range n {
		line := []string{"run", "--dry-run"}
		for range 1 + rng.IntN(7) {
			line = append(line, words[rng.IntN(len(words))])
		}
		r := read(t, nil, line...)
		if r.Refused {
			continue
		}
		accepted++
		if !r.agree() {
			t.Errorf("%q: %+v", line, r)
		}
	}
	if accepted < n/10 {
		t.Errorf("of %d lines only %d were accepted: nothing is shown", n, accepted)
	}
}
