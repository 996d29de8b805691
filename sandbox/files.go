package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// file returns a detached read-only mount of a small file with content. Such
// files lie in one tmpfs of ours, outside of the root.
func (t *tree) file(name string, content []byte, mode os.FileMode) (*os.File, error) {
	path := filepath.Join(t.state.files, name)
	uid, gid := t.ids.root()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return nil, err
	}
	if err := errors.Join(os.Chown(path, uid, gid), os.Chmod(path, mode)); err != nil {
		return nil, err
	}
	m, err := cloneTree(path)
	if err != nil {
		return nil, err
	}
	if err := setTree(m, attrNoExec|unix.MOUNT_ATTR_RDONLY); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// mountFiles mounts the tmpfs of ours, with the mount point of the tree in it.
func (t *tree) mountFiles(undo *closers) error {
	m, err := newTmpfs(tmpfsOptions{size: 4 << 20, mode: 0o755}, attrSafe)
	if err != nil {
		return err
	}
	defer m.Close()
	dst, err := os.OpenFile(t.state.files, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer dst.Close()
	undo.add(func() error { return detach(t.state.files) }) // and all that is mounted in it
	if err := attach(m, dst); err != nil {
		return err
	}
	return os.Mkdir(t.state.root, 0o755)
}

// planEtc adds /etc/hosts and /etc/resolv.conf. They are bound over what the
// root has, so they are in no result.
func (t *tree) planEtc(spec Spec, hostname string) error {
	resolv := []byte("# network none: there is no name server\n")
	if spec.Network == NetworkHost {
		b, err := os.ReadFile("/etc/resolv.conf")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		resolv = b
	}
	for name, content := range map[string][]byte{"hosts": etcHosts(hostname, spec.Hosts), "resolv.conf": resolv} {
		m, err := t.file(name, content, 0o644)
		if err != nil {
			return fmt.Errorf("make /etc/%s: %w", name, err)
		}
		t.add(placement{target: "/etc/" + name, name: "/etc/" + name, mount: m, file: true, optional: spec.Root.Kind == RootHost})
	}
	return nil
}

func etcHosts(hostname string, more []HostEntry) []byte {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	fmt.Fprintf(&b, "127.0.0.1\t%s\n", hostname)
	for _, h := range more {
		fmt.Fprintf(&b, "%s\t%s\n", h.IP, h.Name)
	}
	return []byte(b.String())
}
