package sandbox

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment returns the environment of a process: the base, then more; each
// name once, the last value wins, at the place where it first appeared.
func (sb *Sandbox) environment(p Process) []string {
	path := defaultPath
	if sb.path != "" {
		path = sb.path
	}
	home := sb.home
	if home == "" {
		home = "/"
	}
	env := []string{"PATH=" + path, "HOME=" + home, "HOSTNAME=" + sb.hostname()}
	if p.TTY {
		t := p.Term
		if t == "" {
			t = "xterm"
		}
		env = append(env, "TERM="+t)
	}
	return mergeEnv(append(env, p.Env...))
}

// mergeEnv keeps the last value of each name.
func mergeEnv(env []string) []string {
	var out []string
	at := make(map[string]int)
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		if i, ok := at[name]; ok {
			out[i] = kv
			continue
		}
		at[name] = len(out)
		out = append(out, kv)
	}
	return out
}

// visiblePath returns the entries of the caller's PATH that the host root shows.
func (c *creation) visiblePath() string {
	if c.spec.Root.Kind != RootHost {
		return ""
	}
	var out []string
	for _, dir := range filepath.SplitList(c.spec.Host.Path) {
		if !filepath.IsAbs(dir) {
			continue // relative to where the caller was
		}
		f, err := openInRoot(c.root, dir, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			continue
		}
		f.Close()
		out = append(out, dir)
	}
	return strings.Join(out, string(os.PathListSeparator))
}
