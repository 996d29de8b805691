//go:build !bench

package main_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The documentation against the binary: what a user can type or get must be in
// docs/, as the binary itself says it, and no link may lead nowhere.

// docFlag is a flag, as --help or the reference has it.
type docFlag struct {
	name     string // without dashes: "tty", "[no-]init"
	variable string // "SANDBOX_TTY", or "" if there is none
}

// helpOf returns what "sandbox ARGS" prints.
func helpOf(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(findBinary(t), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("sandbox %s: %v: %s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

func readDoc(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	helpFlagLine = regexp.MustCompile(`^ +(?:-\w, +)?--([][\w-]+)`)
	helpVariable = regexp.MustCompile(`\(\$(SANDBOX_\w+)\)`)
	docFlagRow   = regexp.MustCompile("^\\| (?:`-\\w`, )?`--([][\\w-]+)` \\| (?:`(SANDBOX_\\w+)`|–) \\| .*\\S.* \\|$")
)

// flagsOfHelp reads the flags of a --help. A flag's text may go on in the
// lines below it.
func flagsOfHelp(help string) []docFlag {
	var flags []docFlag
	_, list, _ := strings.Cut(help, "\nFlags:\n")
	for line := range strings.Lines(list) {
		if m := helpFlagLine.FindStringSubmatch(line); m != nil {
			flags = append(flags, docFlag{name: m[1]})
		}
		if m := helpVariable.FindStringSubmatch(line); m != nil && len(flags) > 0 {
			flags[len(flags)-1].variable = m[1]
		}
	}
	return flags
}

// flagsOfReference reads the rows of the tables of flags.
func flagsOfReference(text string) []docFlag {
	var flags []docFlag
	for line := range strings.Lines(text) {
		if m := docFlagRow.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
			flags = append(flags, docFlag{name: m[1], variable: m[2]})
		}
	}
	return flags
}

func TestDocsFlags(t *testing.T) {
	const minimum = 30 // "run" has more: the help has been read, not overlooked
	help := flagsOfHelp(helpOf(t, "run", "--help"))
	if len(help) < minimum {
		t.Fatalf("only %d flags were found in the help: %v", len(help), help)
	}
	documented := flagsOfReference(readDoc(t, "docs/reference.md"))
	for _, f := range help {
		if !slices.Contains(documented, f) {
			t.Errorf("docs/reference.md has no row for --%s with the variable %q", f.name, f.variable)
		}
	}
	for i, f := range documented {
		if !slices.Contains(help, f) {
			t.Errorf("docs/reference.md: run has no flag --%s with the variable %q", f.name, f.variable)
		}
		if slices.Contains(documented[:i], f) {
			t.Errorf("docs/reference.md: --%s is there twice", f.name)
		}
	}
}

// exitCodes returns the lines of a table: code and meaning.
func exitCodes(text string, row *regexp.Regexp) []string {
	var codes []string
	for _, m := range row.FindAllStringSubmatch(text, -1) {
		codes = append(codes, m[1]+" "+m[2])
	}
	return codes
}

func TestDocsExitCodes(t *testing.T) {
	help := exitCodes(helpOf(t, "help", "exit"), regexp.MustCompile(`(?m)^  (\d\S*) +(\S.*)$`))
	if !slices.ContainsFunc(help, func(s string) bool { return strings.HasPrefix(s, "125 ") }) {
		t.Fatalf("the help on exit codes was not understood: %q", help)
	}
	_, section, found := strings.Cut(readDoc(t, "docs/exit-codes.md"), "\n## `sandbox run`\n")
	section, _, _ = strings.Cut(section, "\n## ")
	documented := exitCodes(section, regexp.MustCompile(`(?m)^\| (\d[\d+n-]*) \| ([^|]*) \|$`))
	if !found || !slices.Equal(help, documented) {
		t.Errorf("docs/exit-codes.md and \"sandbox help exit\" differ:\n%q\n%q", documented, help)
	}
}

// mdLink finds [text](target); code in backquotes has no links.
var (
	mdLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	mdCode    = regexp.MustCompile("`[^`\n]*`")
	mdHeading = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// anchors returns what a link can name behind # in a document, by GitHub's
// rule: letters, digits, - and _ of the heading in lower case, blanks as -.
func anchors(text string) []string {
	var all []string
	for _, m := range mdHeading.FindAllStringSubmatch(text, -1) {
		all = append(all, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', r >= '0' && r <= '9', r >= 'a' && r <= 'z', r > 0x7f && r != '…':
				return r
			}
			return -1
		}, strings.ToLower(m[1])))
	}
	return all
}

func TestDocsLinks(t *testing.T) {
	var files []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path == ".git" || path == "bin"):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".md"):
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(files, "README.md") || !slices.Contains(files, "docs/reference.md") {
		t.Fatalf("README.md or docs/reference.md is missing: there is %q", files)
	}
	links := 0
	for _, file := range files {
		text := readDoc(t, file)
		for _, m := range mdLink.FindAllStringSubmatch(mdCode.ReplaceAllString(text, "`code`"), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			path, anchor, hasAnchor := strings.Cut(m[1], "#")
			target := file
			if path != "" {
				target = filepath.Join(filepath.Dir(file), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: link to %q: %v", file, m[1], err)
			} else if hasAnchor && !slices.Contains(anchors(readDoc(t, target)), anchor) {
				t.Errorf("%s: link to %q: no such heading in %s", file, m[1], target)
			}
		}
	}
	if links == 0 {
		t.Error("no link was found at all")
	}
}
