package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// planMount turns a wish into a fact.
func (c *creation) planMount(ctx context.Context, m Mount) error {
	p, err := c.prepareMount(ctx, m)
	if err != nil {
		return fmt.Errorf("mount %q: %w", m.String(), err)
	}
	p.name = fmt.Sprintf("mount %q", m.String())
	p.asked = true
	p.target = filepath.Clean(m.Target)
	if !filepath.IsAbs(p.target) {
		p.target = filepath.Join("/", c.cwd, p.target)
	}
	p.whole = p.hostPath == p.target
	c.tree.add(p)
	return nil
}

func (c *creation) prepareMount(ctx context.Context, m Mount) (placement, error) {
	switch {
	case m.Output != "":
		return placement{}, fmt.Errorf("output=%s: keeping results %w", m.Output, ErrLater)
	case m.Type == MountBind && m.From.Kind == "" && m.Throwaway:
		f, err := os.OpenFile(m.Source, unix.O_PATH, 0)
		if err != nil {
			return placement{}, err
		}
		defer f.Close()
		return c.throwaway(f)
	case m.Type == MountBind && m.From.Kind == "":
		return hostTree(c.tree, m.Source, !m.Writable())
	case m.Type == MountBind:
		return c.fromBind(ctx, m)
	case m.Type == MountTmpfs:
		return c.tmpfsMount(m)
	}
	return placement{}, fmt.Errorf("type %s: this type of mount %w", m.Type, ErrLater)
}

// throwaway shows f and keeps writes for the run only.
func (c *creation) throwaway(f *os.File) (placement, error) {
	st, err := stat(f)
	if err != nil {
		return placement{}, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		mount, err := c.overlay(f, nil)
		return placement{mount: mount}, err
	}
	// Overlays are made of directories: that of f, of which only f is shown.
	path, err := os.Readlink(fdPath(f))
	if err != nil {
		return placement{}, err
	}
	dir, err := os.OpenFile(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return placement{}, err
	}
	defer dir.Close()
	mount, err := c.overlay(dir, nil)
	if err != nil {
		return placement{}, err
	}
	mount, err = c.subMount(mount, filepath.Base(path))
	return placement{mount: mount, file: true}, err
}

// fromBind is a bind of another tree: a directory or an archive.
func (c *creation) fromBind(ctx context.Context, m Mount) (placement, error) {
	switch m.From.Kind {
	case RootDir:
		dir, err := openRootDir(m.From.Path)
		if err != nil {
			return placement{}, err
		}
		defer dir.Close()
		sub, err := subPath(dir, m.Source)
		if err != nil {
			return placement{}, err
		}
		defer sub.Close()
		if m.Writable() {
			return c.throwaway(sub)
		}
		return c.tree.hostMount(sub, true)
	case RootTar:
		mount, err := c.unpack(ctx, m.From)
		if err != nil {
			return placement{}, err
		}
		return c.fromArchive(mount, m)
	}
	return placement{}, fmt.Errorf("from=%s: a bind of an image or result %w", m.From, ErrLater)
}

// fromArchive shows a sub-path of an unpacked archive.
func (c *creation) fromArchive(mount *os.File, m Mount) (_ placement, err error) {
	if m.Source != "" {
		// A detached mount cannot be cloned (before Linux 6.15): attach it
		// among our files and clone what is asked.
		if mount, err = c.subMount(mount, m.Source); err != nil {
			return placement{}, err
		}
	}
	st, err := stat(mount)
	if err != nil {
		return placement{}, errors.Join(err, mount.Close())
	}
	if !m.Writable() {
		if err := setTree(mount, attrSafe|unix.MOUNT_ATTR_RDONLY); err != nil {
			return placement{}, errors.Join(err, mount.Close())
		}
	}
	return placement{mount: mount, file: st.Mode&unix.S_IFMT != unix.S_IFDIR, foreign: !m.Writable()}, nil
}

func (c *creation) subMount(mount *os.File, path string) (*os.File, error) {
	defer mount.Close()
	c.memoryLayers++
	at := filepath.Join(c.state.files, fmt.Sprintf("from%d", c.memoryLayers))
	if err := os.Mkdir(at, 0o755); err != nil {
		return nil, err
	}
	dst, err := os.OpenFile(at, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer dst.Close()
	if err := attach(mount, dst); err != nil {
		return nil, err
	}
	root, err := os.OpenFile(at, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	sub, err := subPath(root, path)
	if err != nil {
		return nil, err
	}
	defer sub.Close()
	return cloneFD(sub)
}

// subPath opens path inside dir; symlinks are followed inside of it.
func subPath(dir *os.File, path string) (*os.File, error) {
	if path == "" {
		path = "."
	}
	f, err := openInRoot(dir, path, unix.O_PATH)
	if err != nil {
		return nil, fmt.Errorf("src=%s: %w", path, errors.Unwrap(err))
	}
	return f, nil
}

func (c *creation) tmpfsMount(m Mount) (placement, error) {
	o := tmpfsOptions{size: m.Size, mode: 0o1777}
	if m.Mode != nil {
		o.mode = *m.Mode
	}
	owner := User{}
	if m.UID != nil {
		owner.UID = *m.UID
	}
	if m.GID != nil {
		owner.GID = *m.GID
	}
	if err := c.ids.check(owner); err != nil {
		return placement{}, err
	}
	o.uid, _ = c.ids.uid(owner.UID)
	o.gid, _ = c.ids.gid(owner.GID)
	mount, err := newTmpfs(o, attrSafe)
	return placement{mount: mount, owner: &owner}, err
}

// planPaths adds --ro, --rw and --hide: host paths at their own paths.
func (c *creation) planPaths() error {
	view := c.spec.Host
	for _, set := range []struct {
		flag  string
		paths []string
		place func(path string) (placement, error)
	}{
		{"--ro", view.Show, func(path string) (placement, error) { return hostTree(c.tree, path, true) }},
		{"--rw", view.Writable, func(path string) (placement, error) { return hostTree(c.tree, path, false) }},
		{"--hide", view.Hide, c.hidden},
	} {
		for _, path := range set.paths {
			if err := checkTarget(path); err != nil {
				return fmt.Errorf("%s %q: %w", set.flag, path, err)
			}
			p, err := set.place(path)
			if err != nil {
				return fmt.Errorf("%s %q: %w", set.flag, path, err)
			}
			p.name, p.asked, p.whole = fmt.Sprintf("%s %q", set.flag, path), true, true
			c.tree.add(p)
		}
	}
	return nil
}

// hidden returns the cover of a path of the root. That of the host root is not
// assembled yet, but what it shows is at the same path on the host.
func (c *creation) hidden(path string) (placement, error) {
	var f *os.File
	var err error
	if c.spec.Root.Kind == RootHost {
		f, err = os.OpenFile(path, unix.O_PATH, 0)
	} else {
		f, err = openInRoot(c.tree.root, path, unix.O_PATH)
	}
	if err != nil {
		return placement{}, err
	}
	defer f.Close()
	st, err := stat(f)
	if err != nil {
		return placement{}, err
	}
	p, err := c.tree.newCover(path, st.Mode&unix.S_IFMT != unix.S_IFDIR)
	// Where it is not shown, something below it may be, by implication.
	p.cover, p.optional = false, true
	return p, err
}
