package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// helpFlag prints the help of what was typed so far and stops the parser.
type helpFlag bool

// helpShown is not an error: help was asked for and printed.
type helpShown struct{}

// Error is never printed.
func (*helpShown) Error() string { return "help was shown" }

// BeforeReset is kong's hook for flags that act before the rest is checked.
func (helpFlag) BeforeReset(ctx *kong.Context) error {
	if err := ctx.PrintUsage(false); err != nil {
		return err
	}
	return &helpShown{}
}

// IsBool tells kong that the flag takes no value.
func (helpFlag) IsBool() bool { return true }

// usageLine is printed with errors of the command line.
func usageLine(kctx *kong.Context, err error) string {
	var pe *kong.ParseError
	if errors.As(err, &pe) && pe.Context != nil {
		kctx = pe.Context
	}
	name := ""
	if kctx != nil && kctx.Selected() != nil {
		name = kctx.Selected().Name
	}
	switch name {
	case "run":
		return `usage: sandbox run [flags] [ROOT] [--] COMMAND...  ("sandbox run --help" lists the flags)`
	case "":
		return `usage: sandbox COMMAND [flags]  ("sandbox --help" lists the commands)`
	}
	return fmt.Sprintf("usage: sandbox %s [flags]  (\"sandbox %s --help\" lists them)", name, name)
}

// Help is shown below the first line of "sandbox run --help": kong does not
// know of ROOT and COMMAND.
func (*runCmd) Help() string {
	return `sandbox run [flags] [ROOT] [--] COMMAND...

ROOT is host (the default), dir:PATH, ./PATH, /PATH, tar:FILE, - or scratch; with
-- first there is none. Flags end at the first word that is none. More: sandbox
help exit|mounts|roots|env.`
}

// helpCmd is "sandbox help".
type helpCmd struct {
	Topic string `arg:"" optional:"" help:"A command, or one of: exit, mounts, roots, env."`
}

func (c *helpCmd) run(_ context.Context, env *environment) (int, error) {
	if text, ok := topics[c.Topic]; ok {
		_, err := fmt.Fprint(env.out, text)
		return 0, err
	}
	args := []string{"--help"}
	if c.Topic != "" {
		args = []string{c.Topic, "--help"}
	}
	parser, err := newParser(&globals{}, args)
	if err != nil {
		return 0, err
	}
	var shown *helpShown
	if _, err := parser.Parse(args); !errors.As(err, &shown) {
		var names []string
		for name := range topics {
			names = append(names, name)
		}
		slices.Sort(names)
		return 0, fmt.Errorf("help on %q: there is no such command or topic; topics are %s", c.Topic, strings.Join(names, ", "))
	}
	return 0, nil
}

var topics = map[string]string{
	"exit": `Exit codes of "sandbox run"

  0-255   the command's own exit code
  124     --timeout had passed
  125     sandbox itself failed, or the command line was wrong; stderr says why
  126     the command was found but could not be executed
  127     the command, or its interpreter, was not found
  128+n   the command was killed by signal n

A command may itself exit with one of these. --result-file F tells them apart:
{"exitCode":...,"signal":...,"reason":"exit|signal|timeout|denied|internal",...}
"sandbox doctor" exits 0 (all is ok), 1 (works, with less) or 2 (run cannot work).
`,
	"mounts": `Mounts

  --mount type=bind,src=PATH,dst=PATH[,rw]     a host path, read-only unless rw
  --mount type=bind,from=dir:D|tar:T|-,dst=P   a directory or an archive;
                                               src= is a path inside of it
  --mount type=tmpfs,dst=P[,size=,mode=,uid=,gid=]
  -v SRC:DST[:ro|rw|O]    a bind; O sends writes to a layer that is thrown away
  --tmpfs DST[:size=64m,mode=1777]

Binds are recursive and read-only unless "rw" is said; with from=, rw writes to
a layer that is thrown away. Mounts are always nosuid and nodev. A later mount on
the same target replaces the earlier one; parents are mounted first. A missing
target is made where the sandbox may write, and directly below /. The types
cache, secret and ssh come later.
`,
	"roots": `Roots

  (none), host       your own root, read-only, with private /tmp, /run, /var/tmp
                     and home; your working directory is shown read-only
  dir:PATH, ./PATH   a directory; writes go to a layer that is thrown away,
                     --rw-root writes through, --read-only allows none
  tar:PATH, -        a tar (plain, gzip, zstd, xz), from a file or stdin
  scratch            an empty root

  --ro PATH and --rw PATH show a host path at its own path; --hide PATH covers
  one. "sandbox run -- ls" runs ls in the host root: with "--" first there is no
  ROOT. Images come later.
`,
	"env": `Environment

Every flag has a variable, SANDBOX_ and its name in capitals with _ for -, such as
SANDBOX_TIMEOUT=5m. Flags that widen what a sandbox may do have none: --allow,
--rw, --rw-root, --ro, --mount, -v, --secret, --ssh, --fd, --network, --security,
--seccomp, --cap-add. SANDBOX_USERNS does not take "identity".
A flag on the command line replaces its variable, for lists as a whole.
NO_COLOR, XDG_RUNTIME_DIR, XDG_STATE_HOME, XDG_DATA_HOME and CI are honoured.

Into the sandbox go PATH, HOME, HOSTNAME and with a terminal TERM, then what
--env-file and -e say. Nothing else of your environment does.
`,
}
