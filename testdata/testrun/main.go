// Command testrun runs compiled test binaries and adds up what they say.
//
//	testrun -label NAME -out FILE [-only PACKAGE] [-not PACKAGE] [-run REGEXP] [-again FILE] LIST
//	testrun -report [-strict] FILE…
//
// LIST has lines "BINARY<tab>PACKAGE<tab>DIRECTORY", relative to the current
// directory. Each binary runs in its directory. What passes is one line, as
// from go test; of a skipped test the reason is shown, of a failed one its
// whole output. The outcomes are appended to FILE as JSON lines. With -again
// only those tests run that were skipped in that file.
//
// -report merges such files: a test that was skipped in one pass and ran in
// another one has run. It closes with "N passed, N failed, N skipped" and
// fails when a test failed or, with -strict, when one was skipped everywhere.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// outcome is one line of a results file.
type outcome struct {
	Label   string `json:"label"` // tests of two labels are two tests
	Package string `json:"package"`
	Test    string `json:"test"`
	Result  string `json:"result"` // PASS, FAIL or SKIP
	Reason  string `json:"reason,omitempty"`
}

type key struct{ label, pkg, test string }

func (o outcome) key() key { return key{o.Label, o.Package, o.Test} }

// options are the flags of a run.
type options struct {
	label, out, only, not, run, again string
	timeout                           time.Duration
}

func main() {
	var opt options
	flag.StringVar(&opt.label, "label", "unit", "name of this pass")
	flag.StringVar(&opt.out, "out", "", "file to append the outcomes to")
	flag.StringVar(&opt.only, "only", "", "run this package only")
	flag.StringVar(&opt.not, "not", "", "do not run this package")
	flag.StringVar(&opt.run, "run", "", "run the tests that match")
	flag.StringVar(&opt.again, "again", "", "run what was skipped in this file")
	flag.DurationVar(&opt.timeout, "timeout", 15*time.Minute, "limit for one binary")
	report := flag.Bool("report", false, "add up results files")
	strict := flag.Bool("strict", false, "with -report: a skip is a failure")
	flag.Parse()

	var ok bool
	var err error
	if *report {
		ok, err = reportFiles(os.Stdout, flag.Args(), *strict)
	} else {
		ok, err = runList(opt, flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testrun:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// runList runs the packages of a list file and reports whether all passed.
func runList(opt options, args []string) (ok bool, err error) {
	if len(args) != 1 || opt.out == "" {
		return false, errors.New("usage: testrun -label NAME -out FILE LIST")
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return false, err
	}
	var again []outcome
	if opt.again != "" {
		if again, err = readOutcomes(opt.again); err != nil {
			return false, err
		}
	}
	out, err := os.OpenFile(opt.out, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	ok = true
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) != 3 {
			return false, fmt.Errorf("read %q: line %q has not 3 fields", args[0], line)
		}
		if opt.only != "" && f[1] != opt.only || opt.not != "" && f[1] == opt.not {
			continue
		}
		run := opt.run
		if opt.again != "" {
			if run = skippedTests(again, f[1]); run == "" {
				continue
			}
		}
		passed, err := runBinary(opt, run, f[0], f[1], f[2], out)
		if err != nil {
			return false, err
		}
		ok = ok && passed
	}
	return ok, nil
}

// skippedTests makes a -run pattern of the top-level tests of a package in
// which something was skipped; "" when there is none.
func skippedTests(outcomes []outcome, pkg string) string {
	var names []string
	for _, o := range outcomes {
		top, _, _ := strings.Cut(o.Test, "/")
		if o.Package == pkg && o.Result == "SKIP" && !slices.Contains(names, top) {
			names = append(names, top)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "^(" + strings.Join(names, "|") + ")$"
}

// runBinary runs one test binary, prints a summary, and writes its outcomes.
func runBinary(opt options, run, binary, pkg, dir string, out io.Writer) (bool, error) {
	path, err := filepath.Abs(binary)
	if err != nil {
		return false, err
	}
	args := []string{"-test.v=test2json", "-test.timeout=" + opt.timeout.String()}
	if run != "" {
		args = append(args, "-test.run="+run)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	pipe, w, err := os.Pipe()
	if err != nil {
		return false, err
	}
	defer pipe.Close()
	cmd.Stdout, cmd.Stderr = w, w
	begin := time.Now()
	err = cmd.Start()
	if cerr := w.Close(); err != nil || cerr != nil {
		return false, errors.Join(err, cerr)
	}
	p := parse(pipe)
	waitErr := cmd.Wait()
	if p.err != nil {
		return false, fmt.Errorf("read the output of %q: %w", binary, p.err)
	}

	passed := true
	enc := json.NewEncoder(out)
	for _, o := range p.outcomes {
		o.Label, o.Package = opt.label, pkg
		passed = passed && o.Result != "FAIL"
		if err := enc.Encode(o); err != nil {
			return false, err
		}
		switch o.Result {
		case "SKIP":
			fmt.Printf("--- SKIP: %s %s [%s]: %s\n", pkg, o.Test, opt.label, o.Reason)
		case "FAIL":
			fmt.Printf("--- FAIL: %s %s [%s]\n%s\n", pkg, o.Test, opt.label, indent(p.output[o.Test]))
		}
	}
	if waitErr != nil && passed { // a crash, a race at exit, os.Exit in a test
		passed = false
		if err := enc.Encode(outcome{opt.label, pkg, "(exit)", "FAIL", waitErr.Error()}); err != nil {
			return false, err
		}
		fmt.Printf("--- FAIL: %s [%s]: %v\n%s\n", pkg, opt.label, waitErr, indent(p.output[""]))
	}
	verdict := "ok  "
	if !passed {
		verdict = "FAIL"
	}
	fmt.Printf("%s\t%s\t[%s]\t%.3fs\n", verdict, pkg, opt.label, time.Since(begin).Seconds())
	return passed, nil
}

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n    ")
}

// parsed is the output of a test binary, by test. A test that began and never
// ended has failed; what it printed is under its name, what belongs to no
// test under "".
type parsed struct {
	outcomes []outcome
	output   map[string]string
	err      error
}

var (
	endLine  = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (.*) \([0-9.]+s\)$`)
	nameLine = regexp.MustCompile(`^=== (RUN|NAME|CONT|PAUSE)\s+(.*)$`)
)

// parse reads the framing that -test.v=test2json makes: a line of the testing
// package's own begins with the byte 0x16.
func parse(r io.Reader) parsed {
	p := parsed{output: map[string]string{}}
	results := map[string]string{}
	var order []string
	current := ""
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		text := strings.TrimSuffix(line, "\n")
		before, frame, framed := strings.Cut(text, "\x16")
		if framed && before != "" { // output without a newline at its end
			p.output[current] += before + "\n"
		}
		if m := nameLine.FindStringSubmatch(frame); framed && m != nil {
			current = m[2]
			if m[1] == "RUN" {
				order = append(order, current)
			}
		} else if m := endLine.FindStringSubmatch(frame); framed && m != nil {
			results[m[2]] = m[1]
			current = m[2] // what a failing test's cleanup prints comes after
		} else if line != "" && !framed {
			p.output[current] += line
		}
		if err != nil {
			if err != io.EOF {
				p.err = err
			}
			break
		}
	}
	for _, name := range order {
		o := outcome{Test: name, Result: results[name]}
		parent := slices.ContainsFunc(order, func(n string) bool { return strings.HasPrefix(n, name+"/") })
		switch {
		case o.Result == "":
			o.Result = "FAIL"
		case o.Result == "SKIP":
			o.Reason = skipReason(p.output[name])
		}
		// The subtests count, not their parent; but a parent may fail alone.
		if parent && (o.Result == "PASS" || o.Result == "FAIL" && failedBelow(results, order, name)) {
			continue
		}
		p.outcomes = append(p.outcomes, o)
	}
	return p
}

func failedBelow(results map[string]string, order []string, name string) bool {
	return slices.ContainsFunc(order, func(n string) bool {
		return strings.HasPrefix(n, name+"/") && results[n] != "PASS" && results[n] != "SKIP"
	})
}

var filePrefix = regexp.MustCompile(`^\s*[\w.-]+\.go:\d+: `)

// skipReason is the last message of a skipped test, on one line.
func skipReason(output string) string {
	lines := strings.Split(strings.TrimRight(output, "\n"), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if filePrefix.MatchString(lines[i]) {
			lines = lines[i:]
			break
		}
	}
	reason := strings.Join(strings.Fields(filePrefix.ReplaceAllString(strings.Join(lines, " "), "")), " ")
	if reason == "" {
		return "(no reason given)"
	}
	return reason
}

func readOutcomes(file string) ([]outcome, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []outcome
	for dec := json.NewDecoder(f); ; {
		var o outcome
		err := dec.Decode(&o)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %q: %w", file, err)
		}
		all = append(all, o)
	}
}

// reportFiles merges results files and prints what is left to say.
func reportFiles(w io.Writer, files []string, strict bool) (bool, error) {
	merged := map[key]outcome{}
	var order []key
	weight := map[string]int{"SKIP": 1, "PASS": 2, "FAIL": 3}
	for _, file := range files {
		outcomes, err := readOutcomes(file)
		if err != nil {
			return false, err
		}
		for _, o := range outcomes {
			old, seen := merged[o.key()]
			if !seen {
				order = append(order, o.key())
			}
			if weight[o.Result] > weight[old.Result] {
				merged[o.key()] = o
			}
		}
	}
	count := map[string]int{}
	for _, k := range order {
		o := merged[k]
		count[o.Result]++
		if o.Result != "PASS" {
			fmt.Fprintf(w, "%s: %s %s [%s] %s\n", o.Result, o.Package, o.Test, o.Label, o.Reason)
		}
	}
	ok := count["FAIL"] == 0 && count["PASS"] > 0
	if strict && count["SKIP"] > 0 {
		fmt.Fprintf(w, "STRICT: a skipped test counts as a failure\n")
		ok = false
	}
	_, err := fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", count["PASS"], count["FAIL"], count["SKIP"])
	return ok, err
}
