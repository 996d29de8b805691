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
	p.target = filepath.Clean(m.Target)
	if !filepath.IsAbs(p.target) {
		p.target = filepath.Join("/", c.cwd, p.target)
	}
	if err := notOurs(p.target); err != nil {
		return errors.Join(fmt.Errorf("%s: target %q: %w", p.name, p.target, err), p.mount.Close())
	}
	if p.target == "/" {
		return errors.Join(fmt.Errorf("%s: invalid mount target %q", p.name, "/"), p.mount.Close())
	}
	c.tree.add(p)
	return nil
}

func (c *creation) prepareMount(ctx context.Context, m Mount) (placement, error) {
	switch {
	case m.Output != "":
		return placement{}, fmt.Errorf("output=%s: keeping results %w", m.Output, ErrLater)
	case m.Type == MountBind && m.From.Kind == "":
		return c.hostBind(m)
	case m.Type == MountBind:
		return c.fromBind(ctx, m)
	case m.Type == MountTmpfs:
		return c.tmpfsMount(m)
	}
	return placement{}, fmt.Errorf("type %s: this type of mount %w", m.Type, ErrLater)
}

// hostBind is a bind of a host path.
func (c *creation) hostBind(m Mount) (placement, error) {
	f, err := os.OpenFile(m.Source, unix.O_PATH, 0)
	if err != nil {
		return placement{}, err
	}
	defer f.Close()
	if m.Throwaway {
		return c.throwaway(f)
	}
	clone, err := cloneFD(f)
	if err != nil {
		return placement{}, err
	}
	p, err := c.tree.hostMount(clone, !m.Writable())
	if err != nil {
		return placement{}, errors.Join(err, clone.Close())
	}
	if m.Writable() {
		if p.hostPath, err = os.Readlink(fdPath(f)); err != nil {
			return placement{}, errors.Join(err, clone.Close())
		}
	}
	return p, nil
}

// throwaway shows the directory dir and keeps writes for the run only.
func (c *creation) throwaway(dir *os.File) (placement, error) {
	st, err := stat(dir)
	if err != nil {
		return placement{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return placement{}, fmt.Errorf("%q is not a directory: only a directory can have a throw-away layer", dir.Name())
	}
	mount, err := c.overlay(dir, nil)
	return placement{mount: mount}, err
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
		clone, err := cloneFD(sub)
		if err != nil {
			return placement{}, err
		}
		p, err := c.tree.hostMount(clone, true)
		if err != nil {
			return placement{}, errors.Join(err, clone.Close())
		}
		return p, nil
	case RootTar:
		mount, err := c.unpack(ctx, m.From)
		if err != nil {
			return placement{}, err
		}
		return c.fromArchive(mount, m)
	}
	return placement{}, fmt.Errorf("from=%s: binds from images and results %w", m.From, ErrLater)
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
	t, view := c.tree, c.spec.Host
	for _, set := range []struct {
		flag     string
		paths    []string
		readOnly bool
	}{{"--ro", view.Show, true}, {"--rw", view.Writable, false}} {
		for _, path := range set.paths {
			real, err := filepath.EvalSymlinks(path)
			if err != nil {
				return fmt.Errorf("%s %q: %w", set.flag, path, errors.Unwrap(err))
			}
			p, err := hostTree(t, real, set.readOnly)
			if err != nil {
				return fmt.Errorf("%s %q: %w", set.flag, path, err)
			}
			p.name = fmt.Sprintf("%s %q", set.flag, path)
			t.add(p)
		}
	}
	for _, path := range view.Hide {
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return fmt.Errorf("--hide %q: %w", path, errors.Unwrap(err))
		}
		p, err := t.cover(real)
		if err != nil {
			return fmt.Errorf("--hide %q: %w", path, err)
		}
		p.name = fmt.Sprintf("--hide %q", path)
		t.add(p)
	}
	return nil
}
