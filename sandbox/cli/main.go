// Package cli is the command line: the grammar, one file per command, and the
// translation of errors into text, hints and exit codes. Main is the call to
// begin with. It decides nothing about sandboxes: package sandbox does.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"golang.org/x/sys/unix"

	"sandbox.example/sandbox/userns"
)

// globals are the flags that belong to every command.
type globals struct {
	Help      helpFlag `short:"h" help:"Show help."`
	Quiet     bool     `short:"q" help:"Print errors only."`
	Verbose   bool     `help:"Say more about what is done."`
	LogFormat string   `enum:"text,json" default:"text" help:"Messages as ${enum}."`
}

// entry is one command of the command line.
type entry struct {
	name, help string
	grammar    any // a pointer to the struct that kong fills
}

func entries() []entry {
	return []entry{
		{"run", "Run a command in a sandbox.", &runCmd{}},
		{"doctor", "Tell what works on this machine, and what to do about the rest.", &doctorCmd{}},
		{"info", "Print paths, versions and features.", &infoCmd{}},
		{"system", "Manage what sandbox keeps between commands.", &systemCmd{}},
		{"version", "Print the version.", &versionCmd{}},
		{"help", "Explain a command or a topic.", &helpCmd{}},
	}
}

// environment is what commands get besides their flags.
type environment struct {
	args   []string // what was typed behind "run"'s flags: ROOT and the command
	dashes bool     // "--" stood before args
	out    io.Writer
	log    *messages
}

// Main parses args, which do not have the program's name, runs the command and
// returns the exit code.
func Main(args []string) int {
	// What the caller left open is nobody's business but --fd's.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		fmt.Fprintf(os.Stderr, "sandbox: mark descriptors close-on-exec: %v\n", err)
		return codeInternal
	}
	env := &environment{out: os.Stdout, log: &messages{w: os.Stderr}}
	code := env.run(args)
	if err := userns.Entered().Leave(); err != nil {
		return env.fail(fmt.Errorf("remove the runtime directory of this run: %w", err))
	}
	return code
}

// run is Main but for what comes after every command.
func (env *environment) run(args []string) int {
	var g globals
	parser, err := newParser(&g, args)
	if err != nil {
		return env.fail(err)
	}
	flags, rest, dashes := splitCommand(parser.Model, args)
	env.args, env.dashes = rest, dashes
	env.log.json = wantsJSON(flags) // the parser's own errors come before its flags
	kctx, err := parser.Parse(flags)
	var shown *helpShown
	if errors.As(err, &shown) {
		return 0
	}
	if err != nil {
		return env.fail(&usageError{err: err, usage: usageLine(kctx, err)})
	}
	env.log.quiet, env.log.json, env.log.verbose = g.Quiet, g.LogFormat == "json", g.Verbose
	cmd, ok := kctx.Selected().Target.Addr().Interface().(command)
	if !ok {
		return env.fail(fmt.Errorf("command %q: nothing to run", kctx.Command()))
	}
	code, err := cmd.run(context.Background(), env)
	if err != nil {
		return env.fail(err)
	}
	return code
}

// wantsJSON tells whether args or the environment ask for messages as JSON.
func wantsJSON(args []string) bool {
	format := os.Getenv("SANDBOX_LOG_FORMAT")
	for i, a := range args {
		if value, ok := strings.CutPrefix(a, "--log-format="); ok {
			format = value
		} else if a == "--log-format" && i+1 < len(args) {
			format = args[i+1]
		}
	}
	return format == "json"
}

// command is what every leaf of the grammar does: it returns the exit code, or
// an error that Main turns into text and code.
type command interface {
	run(ctx context.Context, env *environment) (code int, err error)
}

// newParser returns the parser for args. Building a command's part of it costs
// more than parsing, so when the first word names a command there is no other.
func newParser(g *globals, args []string) (*kong.Kong, error) {
	options := []kong.Option{
		kong.Name("sandbox"),
		kong.Description("Rootless sandboxes with mounts, in one binary."),
		kong.NoDefaultHelp(),
		kong.DefaultEnvars("SANDBOX"),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 100}),
	}
	all := entries()
	if i := slices.IndexFunc(all, func(e entry) bool { return len(args) > 0 && e.name == args[0] }); i >= 0 {
		all = all[i : i+1]
	}
	for _, e := range all {
		options = append(options, kong.DynamicCommand(e.name, e.help, "", e.grammar))
	}
	return kong.New(g, options...)
}

// splitCommand cuts the arguments of "run" at the first word that is not a
// flag: what follows is ROOT and a command, whose own flags are not ours.
func splitCommand(model *kong.Application, args []string) (flags, rest []string, dashes bool) {
	takes := valueFlags(model)
	inRun := false
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" && inRun {
			return args[:i], args[i+1:], true
		}
		if len(a) < 2 || a[0] != '-' {
			if inRun {
				return args[:i], args[i:], false
			}
			if a != "run" {
				return args, nil, false
			}
			inRun = true
			continue
		}
		if takesNext(takes, a) {
			i++
		}
	}
	return args, nil, false
}

// takesNext tells whether the flag word a uses the word behind it as its value.
func takesNext(takes map[string]bool, a string) bool {
	if strings.HasPrefix(a, "--") {
		return !strings.Contains(a, "=") && takes[a]
	}
	for i, c := range a[1:] {
		if takes["-"+string(c)] {
			return i+1 == len(a)-1
		}
	}
	return false
}

// valueFlags returns the flags of "run" that take a value, as "--name" and
// "-n". The constructor in package userns has the same list (flags.h).
func valueFlags(model *kong.Application) map[string]bool {
	out := make(map[string]bool)
	add := func(flags []*kong.Flag) {
		for _, f := range flags {
			if f.IsBool() || f.IsCounter() {
				continue
			}
			out["--"+f.Name] = true
			if f.Short != 0 {
				out["-"+string(f.Short)] = true
			}
		}
	}
	add(model.Flags)
	for _, n := range model.Children {
		if n.Name == "run" {
			add(n.Flags)
		}
	}
	return out
}

// constructorFlags returns the content of userns/flags.h.
func constructorFlags() (string, error) {
	parser, err := newParser(&globals{}, []string{"run"})
	if err != nil {
		return "", err
	}
	var long, short []string
	for name := range valueFlags(parser.Model) {
		if strings.HasPrefix(name, "--") {
			long = append(long, name)
		} else {
			short = append(short, name[1:])
		}
	}
	slices.Sort(long)
	slices.Sort(short)
	var b strings.Builder
	b.WriteString("// Code generated by \"make generate\" from the grammar in sandbox/cli; DO NOT EDIT.\n")
	b.WriteString("// The flags of \"sandbox run\" that take a value.\n")
	b.WriteString("static const char *const value_flags[] = {\n")
	for _, name := range long {
		fmt.Fprintf(&b, "\t%q,\n", name)
	}
	fmt.Fprintf(&b, "\tNULL,\n};\nstatic const char value_shorts[] = %q;\n", strings.Join(short, ""))
	return b.String(), nil
}
