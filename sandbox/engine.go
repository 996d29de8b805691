package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"sandbox.example/sandbox/runc"
	"sandbox.example/sandbox/userns"
)

// Engine creates sandboxes for the process it lives in.
type Engine struct {
	Entry   userns.Entry
	DataDir string   // where layers are kept, or "": nowhere on disk
	Stdin   *os.File // what "-" reads as a root or from=; nil: nothing
	// Notice is told what is weaker or different than the caller may think;
	// it may be nil.
	Notice func(string)
}

// Sandbox is a root with its mounts, in which processes can be started. Its
// methods may be called from any goroutine.
type Sandbox struct {
	engine *Engine
	spec   Spec
	state  state
	ids    idPlan
	user   User
	cwd    string
	home   string // of the user, in the root's passwd or the caller's
	path   string // the host's PATH, as far as the root shows it
	undo   closers
	pid1   *Task
	// prepare returns what package runc made while the tree was built.
	prepare func() (*runc.Prepared, error)
	root    *os.File // of the assembled tree
}

// creation is a Sandbox while it is being made.
type creation struct {
	*Sandbox
	tree         *tree
	layers       *layers
	memoryLayers int
}

// Create makes a sandbox as spec says. Nothing runs in it yet. On error
// everything taken has been released. The caller calls Release in the end.
// Runs in: supervisor, root of the user namespace.
func (e *Engine) Create(ctx context.Context, spec Spec) (_ *Sandbox, err error) {
	if err := e.Entry.Err(); err != nil {
		return nil, err
	}
	if _, err := allow(spec.Grants, spec, User{}); err != nil {
		return nil, err
	}
	if err := e.require(ctx, spec.Require); err != nil {
		return nil, err
	}
	sb := &Sandbox{engine: e, spec: spec}
	defer func() {
		if err != nil {
			if uerr := sb.undo.run(); uerr != nil {
				err = fmt.Errorf("%w; and to clean up: %w", err, uerr)
			}
		}
	}()
	if e.Entry.Standalone {
		if err := sweepAlone(e.Entry.RuntimeDir); err != nil {
			return nil, fmt.Errorf("clear what killed sandboxes left: %w", err)
		}
	}
	// As root our mounts would appear in the caller's namespace otherwise.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return nil, fmt.Errorf("detach from the caller's mounts: %w", os.NewSyscallError("mount", err))
	}
	if sb.ids, err = planIDs(e.Entry, &sb.undo); err != nil {
		return nil, err
	}
	if sb.state, err = newState(e.Entry.RuntimeDir, spec.Name, sb.ids.shifted, &sb.undo); err != nil {
		return nil, err
	}
	c := &creation{Sandbox: sb}
	c.layers = &layers{home: e.DataDir, id: sb.state.id}
	sb.undo.add(c.layers.undo.run)
	c.tree = &tree{ids: sb.ids, state: sb.state, stubs: &stubs{stateDir: sb.state.dir}}
	defer c.tree.close()
	sb.undo.add(c.tree.stubs.remove)
	if err := c.build(ctx); err != nil {
		return nil, err
	}
	return sb, nil
}

// ID returns the sandbox's id: 12 of [a-z0-9].
func (sb *Sandbox) ID() string { return sb.state.id }

func (sb *Sandbox) notice(text string) {
	if sb.engine.Notice != nil {
		sb.engine.Notice(text)
	}
}

// build assembles the tree.
func (c *creation) build(ctx context.Context) error {
	host := c.spec.Root.Kind == RootHost
	if c.cwd = c.spec.Cwd; c.cwd == "" {
		c.cwd = "/"
		if host && c.spec.Host.Cwd != "" {
			c.cwd = c.spec.Host.Cwd
		}
	}
	var slash *os.File
	if host { // before anything of ours is mounted: it shall not show
		var err error
		if slash, err = cloneTree("/"); err != nil {
			return err
		}
		defer slash.Close()
	}
	if err := c.tree.mountFiles(&c.undo); err != nil {
		return err
	}
	c.startPreparing()
	base, err := c.base(ctx, slash)
	if err != nil {
		return fmt.Errorf("root %q: %w", c.spec.Root.String(), err)
	}
	base.name = fmt.Sprintf("root %q", c.spec.Root.String())
	if err := c.tree.attachBase(base); err != nil {
		return err
	}
	if !host {
		if err := c.resolveUser(c.tree.root); err != nil {
			return err
		}
	}
	if err := c.planPaths(); err != nil {
		return err
	}
	missing, err := c.tree.planDev()
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		c.notice("missing here, and so in the sandbox: " + strings.Join(missing, ", "))
	}
	if err := c.tree.planEtc(c.spec, c.hostname()); err != nil {
		return err
	}
	for _, m := range c.spec.Mounts {
		if err := c.planMount(ctx, m); err != nil {
			return err
		}
	}
	if c.spec.Network == NetworkHost && !host {
		if err := c.planHostSys(); err != nil {
			return err
		}
	}
	if err := c.tree.attachAll(); err != nil {
		return err
	}
	if err := c.tree.keepDev(); err != nil {
		return fmt.Errorf("keep /dev: %w", err)
	}
	if err := c.makeCwd(); err != nil {
		return err
	}
	for _, dir := range []string{"/proc", "/sys"} { // libcontainer mounts there
		if err := c.makeDir(dir); err != nil {
			return err
		}
	}
	if err := c.tree.seal(); err != nil {
		return err
	}
	c.root, c.tree.root = c.tree.root, nil
	c.undo.add(c.root.Close)
	c.path = c.visiblePath()
	return nil
}

// startPreparing lets package runc do what it can while the tree is built.
func (c *creation) startPreparing() {
	sb := c.Sandbox
	sb.prepare = sync.OnceValues(func() (*runc.Prepared, error) { return runc.New(sb.config()) })
	go sb.prepare()
	sb.undo.add(func() error {
		if prepared, err := sb.prepare(); err == nil { // an error was Start's to report
			return prepared.Close()
		}
		return nil
	})
}

// base makes the root's base mount, and for the host root plans what lies on it.
func (c *creation) base(ctx context.Context, slash *os.File) (placement, error) {
	switch c.spec.Root.Kind {
	case RootHost:
		return c.hostBase(slash)
	case RootDir:
		return c.dirBase(ctx)
	case RootTar:
		return c.tarBase(ctx)
	case RootScratch:
		return c.scratchBase()
	}
	return placement{}, fmt.Errorf("this kind of root %w", ErrLater)
}

func (c *creation) hostBase(hostTree *os.File) (placement, error) {
	slash, err := os.Open("/")
	if err != nil {
		return placement{}, err
	}
	defer slash.Close()
	if err := c.resolveUser(slash); err != nil {
		return placement{}, err
	}
	h := hostRoot{
		slash: hostTree, view: c.spec.Host, user: c.user, home: c.user.Home,
		runtimeDir: c.engine.Entry.RuntimeDir, network: c.spec.Network, notice: c.notice,
	}
	if dir, name := filepath.Split(h.runtimeDir); name == "sandbox" && dir != "/" { // $XDG_RUNTIME_DIR/sandbox
		h.runtimeDir = filepath.Clean(dir)
	}
	if h.home == "" {
		if h.home, err = LookupHome(slash, c.user.UID); err != nil {
			return placement{}, err
		}
	}
	if h.caller, err = LookupHome(slash, c.engine.Entry.CallerUID); err != nil {
		return placement{}, err
	}
	base, err := h.base(c.tree, c.wantsFreshRoot())
	if err != nil {
		return placement{}, err
	}
	c.home = c.spec.Host.Home
	if err := h.plan(c.tree); err != nil {
		return placement{}, errors.Join(err, base.mount.Close())
	}
	return base, nil
}

// wantsFreshRoot tells whether the working directory or a mount's target begins
// with a directory that the host does not have: then "/" must be a file system
// of ours, in which it can be made.
func (c *creation) wantsFreshRoot() bool {
	paths := []string{c.cwd}
	for _, m := range c.spec.Mounts {
		target := m.Target
		if !filepath.IsAbs(target) {
			target = filepath.Join("/", c.cwd, target)
		}
		paths = append(paths, target)
	}
	return slices.ContainsFunc(paths, func(path string) bool {
		parts := splitPath(filepath.Clean(path))
		if len(parts) == 0 {
			return false
		}
		_, err := os.Lstat("/" + parts[0])
		return os.IsNotExist(err)
	})
}

// resolveUser looks the user up in the root and checks that it exists in the map.
func (c *creation) resolveUser(root *os.File) error {
	spec, err := ParseUser(c.spec.User)
	if err != nil {
		return err
	}
	u, err := spec.Resolve(root)
	if err != nil {
		return err
	}
	if err := c.ids.check(u); err != nil {
		return err
	}
	u.Groups = slices.DeleteFunc(u.Groups, func(g int) bool {
		_, ok := c.ids.gid(g)
		return !ok
	})
	c.user, c.home = u, u.Home
	if c.home == "" && c.spec.Root.Kind != RootHost {
		if c.home, err = LookupHome(root, u.UID); err != nil {
			return err
		}
	}
	return nil
}

func (sb *Sandbox) hostname() string {
	switch {
	case sb.spec.Hostname != "":
		return sb.spec.Hostname
	case sb.spec.Name != "":
		return sb.spec.Name
	}
	return sb.state.id
}

// planHostSys shows the host's /sys, read-only: a new sysfs would show, and
// need the rights over, the host's network namespace.
func (c *creation) planHostSys() error {
	m, err := cloneTree("/sys")
	if err != nil {
		return err
	}
	if err := setTree(m, attrNoExec|unix.MOUNT_ATTR_RDONLY); err != nil {
		m.Close()
		return err
	}
	c.tree.add(placement{target: "/sys", name: "/sys", mount: m, foreign: true})
	return nil
}

// makeDir makes a directory of the root if it is missing.
func (c *creation) makeDir(path string) error {
	f, err := c.tree.mountPoint(placement{target: path})
	if err != nil {
		return fmt.Errorf("make %s in the root: %w", path, err)
	}
	defer f.Close()
	st, err := stat(f)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		err = unix.ENOTDIR
	}
	if err != nil {
		return fmt.Errorf("make %s in the root: %w", path, err)
	}
	return nil
}

// makeCwd makes the working directory for the process's user when it is
// missing, and makes sure that it is one.
func (c *creation) makeCwd() error {
	if err := c.checkCwd(); err != nil {
		return fmt.Errorf("working directory %q: %w", c.cwd, err)
	}
	return nil
}

func (c *creation) checkCwd() error {
	real, err := c.tree.resolve(c.cwd)
	if err != nil {
		return err
	}
	if err := notOurs(real); err != nil {
		return err
	}
	if c.tree.under(real).closed {
		return errors.New("it is hidden; give another with -w")
	}
	f, err := openInRoot(c.tree.root, real, unix.O_PATH|unix.O_DIRECTORY)
	made := os.IsNotExist(err)
	if err == nil {
		err = f.Close()
	}
	if err == nil || made { // another sandbox's that exists is kept for us, too
		f, err = c.tree.mountPoint(placement{target: real})
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if made {
		uid, _ := c.ids.uid(c.user.UID)
		gid, _ := c.ids.gid(c.user.GID)
		if err := unix.Fchownat(int(f.Fd()), "", uid, gid, unix.AT_EMPTY_PATH); err != nil {
			return err
		}
	}
	if real, err = c.tree.inside(f); err != nil {
		return err
	}
	c.cwd = real
	return notOurs(real)
}

// notOurs refuses paths below what libcontainer mounts later: a directory
// there is not the one that we see now (CVE-2024-21626: /proc/self/fd/N).
func notOurs(path string) error {
	for _, dir := range []string{"/proc", "/sys"} {
		if path != dir && isBelow(path, dir) {
			return fmt.Errorf("what is below %s belongs to the sandbox", dir)
		}
	}
	return nil
}

// config describes the sandbox's namespaces for package runc.
func (sb *Sandbox) config() runc.Config {
	uids, gids := sb.ids.maps()
	return runc.Config{
		ID:          sb.state.id,
		StateDir:    sb.state.files,
		Rootfs:      sb.state.root,
		Dev:         filepath.Join(sb.state.files, "dev"),
		Hostname:    sb.hostname(),
		UIDs:        uids,
		GIDs:        gids,
		HostNetwork: sb.spec.Network == NetworkHost,
		Unmasked:    sb.spec.Security == SecurityInsecure,
		Nesting:     slices.ContainsFunc(sb.spec.Grants, func(g Grant) bool { return g.Kind == GrantNesting }),
	}
}

// Release ends every process of the sandbox and takes back all that Create
// and Start took, last first; it does all of it even when a step fails, and
// may be called more than once. It is bounded: 2 seconds for the processes.
func (sb *Sandbox) Release(ctx context.Context) error {
	return sb.undo.run()
}
