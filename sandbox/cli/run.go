package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sandbox.example/pty"
	"sandbox.example/sandbox"
	"sandbox.example/sandbox/userns"
)

// runCmd is "sandbox run". ROOT and the command are not here: kong sees the
// flags only (see splitCommand). Flags that widen what the sandbox may do have
// no environment variable (env:"-").
type runCmd struct {
	Interactive bool `short:"i" help:"Forward a terminal's input."`
	TTY         bool `name:"tty" short:"t" help:"Give the command a terminal of its own."`

	Env     []string `short:"e" sep:"none" placeholder:"K[=V]" help:"Set a variable, or copy it from the caller."`
	EnvFile []string `sep:"none" placeholder:"FILE" help:"Set variables from a file of lines K=V or K."`
	Workdir string   `short:"w" placeholder:"DIR" help:"Working directory; made if missing where the root can be written to."`
	User    string   `short:"u" placeholder:"USER[:GROUP]" help:"Run as this user, looked up in the root."`
	FD      []string `name:"fd" sep:"none" env:"-" placeholder:"N[=PATH]" help:"Pass the caller's descriptor N, or open PATH for reading as N."`
	Ulimit  []string `sep:"none" placeholder:"NAME=SOFT[:HARD]" help:"Set a resource limit, such as nofile=1024; -1 is none."`
	Init    bool     `default:"true" negatable:"" help:"Run a small init as pid 1; --init=false makes the command pid 1."`

	Timeout     string `placeholder:"DURATION" help:"End the command after this time; exit code 124."`
	StopTimeout string `default:"10s" placeholder:"DURATION" help:"Time between TERM and KILL (default ${default})."`
	ResultFile  string `placeholder:"FILE" help:"Write exit code, signal and reason as JSON."`

	Name     string `placeholder:"NAME" help:"Name of the sandbox."`
	Hostname string `placeholder:"NAME" help:"Host name inside; default: the name or id."`

	ReadOnly bool     `help:"No writable layer over the root."`
	RWRoot   bool     `name:"rw-root" env:"-" help:"Write through to the directory of a dir: root."`
	RO       []string `name:"ro" sep:"none" env:"-" placeholder:"PATH" help:"Show a host path at its own path, read-only."`
	RW       []string `name:"rw" sep:"none" env:"-" placeholder:"PATH" help:"Show a host path at its own path, for real writes."`
	Hide     []string `sep:"none" placeholder:"PATH" help:"Cover a path of the root with something empty."`

	Mount  []string `sep:"none" env:"-" placeholder:"type=...,..." help:"Mount something; see sandbox help mounts."`
	Volume []string `short:"v" sep:"none" env:"-" placeholder:"SRC:DST[:ro|rw|O]" help:"Bind a host path, read-only unless rw; O: writes are thrown away."`
	Tmpfs  []string `sep:"none" placeholder:"DST[:OPTS]" help:"Mount memory; options are size=, mode=, uid= and gid=."`
	Secret []string `sep:"none" env:"-" placeholder:"id=..." help:"Pass a secret (comes later)."`
	SSH    []string `name:"ssh" sep:"none" env:"-" placeholder:"ID[=SOCKET|KEY]" help:"Pass an ssh agent (comes later)."`

	Network string   `env:"-" default:"none" placeholder:"none|host" help:"Network of the sandbox (default ${default})."`
	AddHost []string `sep:"none" placeholder:"NAME:IP" help:"Add a line to /etc/hosts."`

	Allow    []string `sep:"none" env:"-" placeholder:"GRANT,..." help:"Allow network.host, security.insecure or nesting."`
	Security string   `env:"-" default:"sandbox" placeholder:"sandbox|insecure" help:"Security mode (default ${default})."`
	Seccomp  string   `env:"-" placeholder:"FILE|unconfined" help:"Another seccomp profile (docker's JSON)."`
	CapAdd   []string `env:"-" placeholder:"CAP" help:"Add capabilities; beyond the default set with --allow security.insecure."`
	CapDrop  []string `placeholder:"CAP" help:"Drop capabilities; ALL drops every one."`
	Require  []string `placeholder:"WORD" help:"Fail when one of limits, fuse, subuid, mlock is not there."`

	Userns string `default:"auto" placeholder:"auto|subuid|single|identity" help:"Way into the user namespace (default ${default})."`
	Holder string `default:"auto" placeholder:"auto|off|DURATION" help:"How long the user namespace is kept for the next command (default ${default}: 15m)."`
	DryRun bool   `help:"Print what would be run as JSON, and run nothing."`

	implied bool // -it is implied
}

// plan is what the flags ask for.
type plan struct {
	Spec       sandbox.Spec    `json:"spec"`
	Process    sandbox.Process `json:"process"`
	Toolchains []string        `json:"toolchains,omitempty"`

	stdinUsed bool // "-" reads stdin: the command gets /dev/null
	fds       []passedFD
}

func (c *runCmd) run(ctx context.Context, env *environment) (int, error) {
	p, err := c.plan(env)
	var result *resultFile
	if err == nil && c.ResultFile != "" && !c.DryRun {
		result, err = newResultFile(c.ResultFile)
	}
	if err != nil {
		return 0, err
	}
	if c.DryRun {
		return 0, printJSON(env.out, p)
	}
	err = c.start(ctx, env, p)
	if result != nil {
		if werr := result.write(err); werr != nil {
			err = errors.Join(err, werr)
		}
	}
	var exit *sandbox.ExitError
	if errors.As(err, &exit) && err == error(exit) {
		return exit.Code, nil // the command's own business: it has said why
	}
	return 0, err
}

// start creates the sandbox, runs the command and releases everything.
func (c *runCmd) start(ctx context.Context, env *environment, p *plan) (err error) {
	signals := catchSignals()
	defer signals.stop() // when all is released
	entry := userns.Entered()
	if err := c.checkEntry(entry); err != nil {
		return err
	}
	if entry.Way == userns.Single && c.Userns == "auto" {
		say := env.log.detail
		if entry.Broken {
			say = env.log.notice
		}
		say("one id only: " + entry.Why)
	}
	eng := &sandbox.Engine{Entry: entry, DataDir: dataDir(), Stdin: os.Stdin, Notice: env.log.notice}
	making, made := signals.creating(ctx)
	sb, err := eng.Create(making, p.Spec)
	if err != nil {
		made()
		return err
	}
	defer func() { err = joinRelease(err, sb.Release(context.WithoutCancel(ctx))) }()
	env.log.detail("sandbox " + sb.ID())

	console, err := c.console(env, p)
	interrupted := made()
	if err != nil {
		return err
	}
	defer func() { err = joinRelease(err, console.close()) }()
	if interrupted != nil {
		return interrupted
	}
	task, err := sb.Start(ctx, p.Process)
	if err != nil {
		return err
	}
	if err := console.connect(task); err != nil {
		return err
	}
	signals.forward(task, console, env.log)
	err = task.Wait()
	console.drain(err, signals.late)
	signals.settle()
	return err
}

// joinRelease keeps the command's own end as it is when all went well.
func joinRelease(err, release error) error {
	if release == nil {
		return err
	}
	if err == nil {
		return release
	}
	return fmt.Errorf("%w; and to clean up: %w", err, release)
}

// checkEntry compares what the constructor read with what the parser says.
func (c *runCmd) checkEntry(e userns.Entry) error {
	c.Userns, c.Holder = cmp.Or(c.Userns, "auto"), cmp.Or(c.Holder, "auto") // an empty variable is none
	if !slices.Contains([]string{"auto", "subuid", "single", "identity"}, c.Userns) {
		return fmt.Errorf("--userns %q: it is auto, subuid, single or identity", c.Userns)
	}
	if c.Userns == "identity" && os.Getenv("SANDBOX_USERNS") == "identity" {
		return errors.New("SANDBOX_USERNS=identity: identity is for the flag --userns only")
	}
	if d, err := parseDuration(c.Holder); c.Holder != "auto" && c.Holder != "off" && (err != nil || d < time.Second) {
		return fmt.Errorf("--holder %q: it is auto, off or a duration of at least 1s", c.Holder)
	}
	if err := e.Err(); err != nil {
		return err
	}
	if e.Userns != c.Userns || e.Holder != c.Holder {
		return withHint(fmt.Errorf("read --userns=%s --holder=%s before the start, and --userns=%s --holder=%s now", e.Userns, e.Holder, c.Userns, c.Holder),
			"write --userns=VALUE and --holder=VALUE as single words directly behind \"run\"")
	}
	return nil
}

// plan turns the flags into a spec and a process. It reads the environment and
// env files, and changes nothing.
func (c *runCmd) plan(env *environment) (*plan, error) {
	p := &plan{}
	args := env.args
	// -it is meant by a person at a terminal who says nothing else.
	c.implied = !c.Interactive && !c.TTY && !env.log.quiet &&
		pty.IsTerminal(os.Stdin) && pty.IsTerminal(os.Stdout) && pty.IsTerminal(os.Stderr)
	p.Spec.Root = sandbox.Root{Kind: sandbox.RootHost}
	if !env.dashes && len(args) > 0 {
		root, err := parseRoot(args[0])
		if err != nil {
			return nil, err
		}
		p.Spec.Root = root
		args = args[1:]
		if len(args) > 0 && args[0] == "--" {
			args = args[1:]
		}
		p.stdinUsed = root.Stdin()
	}
	p.Process.Args = args
	if len(args) == 0 {
		return nil, withHint(errors.New("arguments are required"), `give a command: sandbox run -- ls, or sandbox run ./root -- ls`)
	}
	for _, step := range []func(*plan) error{c.planHost, c.planRoot, c.planMounts, c.planProcess, c.planSecurity} {
		if err := step(p); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (c *runCmd) planHost(p *plan) error {
	s := &p.Spec
	s.Name, s.Hostname, s.User = c.Name, c.Hostname, c.User
	for what, name := range map[string]string{"--name": c.Name, "--hostname": c.Hostname} {
		if name == "" {
			continue
		}
		if err := checkSandboxName(name); err != nil {
			return fmt.Errorf("%s %q: %w", what, name, err)
		}
	}
	if _, err := sandbox.ParseUser(c.User); err != nil {
		return err
	}
	if c.Workdir != "" {
		s.Cwd = filepath.Join("/", c.Workdir)
	}
	if s.Root.Kind != sandbox.RootHost {
		return nil
	}
	p.Toolchains = sandbox.Toolchains()
	s.Host.Home, s.Host.Path = os.Getenv("HOME"), os.Getenv("PATH")
	cwd, err := os.Getwd()
	if err == nil && c.Workdir != "" && !filepath.IsAbs(c.Workdir) {
		s.Cwd = filepath.Join(cwd, c.Workdir) // as the caller's shell would see it
	}
	switch {
	case err != nil && c.Workdir == "":
		return withHint(fmt.Errorf("find the working directory: %w", err), "give one with -w")
	case err != nil:
		return nil
	}
	if real, err := filepath.EvalSymlinks(cwd); err == nil {
		cwd = real // $PWD may be a path through symlinks
	}
	forbidden := []string{"/dev", "/proc", "/sys"}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		forbidden = append(forbidden, filepath.Clean(dir))
	}
	for _, dir := range forbidden {
		if cwd != dir && !strings.HasPrefix(cwd, dir+"/") {
			continue
		}
		if c.Workdir == "" {
			return withHint(fmt.Errorf("working directory %q: what is in %s is not shown in a sandbox", cwd, dir), "start from elsewhere, or give a directory with -w")
		}
		return nil
	}
	s.Host.Cwd = cwd
	return nil
}

func (c *runCmd) planRoot(p *plan) error {
	s := &p.Spec
	if root := &s.Root; root.Path != "" && !root.Stdin() {
		if abs, err := filepath.Abs(root.Path); err == nil {
			root.Path = abs
		}
	}
	s.RootReadOnly, s.RootWritable = c.ReadOnly, c.RWRoot
	switch {
	case c.RWRoot && s.Root.Kind != sandbox.RootDir:
		return fmt.Errorf("--rw-root is for roots of kind dir:, this one is %s", s.Root.Kind)
	case c.RWRoot && c.ReadOnly:
		return errors.New("--rw-root and --read-only exclude each other")
	}
	for flag, paths := range map[string][]string{"--ro": c.RO, "--rw": c.RW, "--hide": c.Hide} {
		for _, path := range paths {
			if path, ok := strings.CutSuffix(path, ":cow"); ok && flag == "--rw" {
				return fmt.Errorf("--rw %s:cow: copy-on-write views of host directories come later", path)
			}
			abs, err := parseHostPath(flag, path)
			if err == nil {
				abs, err = filepath.Abs(abs)
			}
			if err != nil {
				return err
			}
			switch flag {
			case "--ro":
				s.Host.Show = append(s.Host.Show, abs)
			case "--rw":
				s.Host.Writable = append(s.Host.Writable, abs)
			case "--hide":
				s.Host.Hide = append(s.Host.Hide, abs)
			}
		}
	}
	return nil
}

func (c *runCmd) planMounts(p *plan) error {
	for _, set := range []struct {
		flags []string
		parse func(string) (sandbox.Mount, error)
	}{{c.Mount, parseMount}, {c.Volume, parseVolume}, {c.Tmpfs, parseTmpfs}} {
		for _, flag := range set.flags {
			m, err := set.parse(flag)
			if err != nil {
				return err
			}
			if m.From.Stdin() {
				if p.stdinUsed {
					return fmt.Errorf("mount %q: stdin is used up: only one root or mount can read it", flag)
				}
				p.stdinUsed = true
			}
			p.Spec.Mounts = append(p.Spec.Mounts, m)
		}
	}
	if len(c.Secret) > 0 {
		if _, err := parseSecret(c.Secret[0]); err != nil {
			return err
		}
		return fmt.Errorf("--secret %s: secrets come later", c.Secret[0])
	}
	if len(c.SSH) > 0 {
		if _, err := parseSSH(c.SSH[0]); err != nil {
			return err
		}
		return fmt.Errorf("--ssh %s: ssh agents come later", c.SSH[0])
	}
	for _, flag := range c.AddHost {
		h, err := parseAddHost(flag)
		if err != nil {
			return err
		}
		p.Spec.Hosts = append(p.Spec.Hosts, h)
	}
	return nil
}

func (c *runCmd) planProcess(p *plan) error {
	pr := &p.Process
	for _, name := range c.EnvFile {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("env file: %w", err)
		}
		vars, err := parseEnvFile(f, os.LookupEnv)
		f.Close()
		if err != nil {
			return fmt.Errorf("env file %q: %w", name, err)
		}
		pr.Env = append(pr.Env, vars...)
	}
	for _, flag := range c.Env {
		kv, found, err := parseEnvFlag(flag, os.LookupEnv)
		if err != nil {
			return err
		}
		if found {
			pr.Env = append(pr.Env, kv)
		}
	}
	for _, flag := range c.Ulimit {
		l, err := parseUlimit(flag)
		if err != nil {
			return err
		}
		pr.Rlimits = append(pr.Rlimits, l)
	}
	for _, flag := range c.FD {
		fd, err := parseFD(flag)
		if err != nil {
			return err
		}
		p.fds = append(p.fds, fd)
	}
	p.Spec.NoInit = !c.Init
	pr.Term = os.Getenv("TERM")
	pr.TTY = c.TTY || c.implied
	var err error
	if c.Timeout != "" {
		if pr.Timeout, err = parseDuration(c.Timeout); err != nil {
			return fmt.Errorf("--timeout: %w", err)
		}
	}
	if pr.StopTimeout, err = parseDuration(c.StopTimeout); err != nil {
		return fmt.Errorf("--stop-timeout: %w", err)
	}
	return nil
}

func (c *runCmd) planSecurity(p *plan) error {
	s := &p.Spec
	s.Network, s.Security, s.Seccomp = sandbox.Network(c.Network), sandbox.Security(c.Security), c.Seccomp
	s.CapAdd, s.CapDrop = c.CapAdd, c.CapDrop
	for _, flag := range c.Allow {
		grants, err := parseGrants(flag)
		if err != nil {
			return err
		}
		s.Grants = append(s.Grants, grants...)
	}
	for _, word := range c.Require {
		known := []string{"limits", "fuse", "subuid", "mlock"}
		if !slices.Contains(known, word) {
			return fmt.Errorf("--require %q: unknown word%s; it takes %s", word, didYouMean(word, known), strings.Join(known, ", "))
		}
	}
	s.Require = c.Require
	if s.Seccomp != "" && s.Seccomp != "unconfined" {
		if _, err := os.Stat(s.Seccomp); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("--seccomp %q: no such file", s.Seccomp)
		}
	}
	return nil
}

// dataDir is where layers are kept: below XDG_DATA_HOME.
func dataDir() string {
	dir := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(dir) {
		home := os.Getenv("HOME")
		if !filepath.IsAbs(home) {
			return ""
		}
		dir = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(dir, "sandbox")
}
