//go:build bench

package main_test

import (
	"bufio"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// benchPeers knows how to call the product and every peer. A tool that is missing or cannot be
// prepared gives a benchArgv with the reason.
type benchPeers struct {
	r          *benchRunner
	binary     benchArgv // the product, copied to where the benchmark's user may execute it
	Root       string    // busybox root for all but podman
	TargetRoot string    // the same with a directory for each bind mount
	podmanRoot string    // podman writes mount points into its root
	bindSource string
	versions   map[string]string
}

// benchTools are the programs whose versions go into the report.
var benchTools = [...]string{"bwrap", "crun", "firejail", "nsjail", "podman", "runc"}

// newBenchPeers makes the roots and copies the product. Only a machine without a static
// busybox is an error: then nothing at all can be measured.
func newBenchPeers(r *benchRunner, binary string) (*benchPeers, error) {
	p := &benchPeers{
		r:          r,
		Root:       filepath.Join(r.stage.Dir, "root"),
		TargetRoot: filepath.Join(r.stage.Dir, "targetroot"),
		podmanRoot: filepath.Join(r.stage.Dir, "podmanroot"),
		bindSource: filepath.Join(r.stage.Dir, "bind"),
		versions:   make(map[string]string),
	}
	busybox, err := benchStaticBusybox()
	if err != nil {
		return nil, err
	}
	for _, root := range []string{p.Root, p.TargetRoot, p.podmanRoot} {
		if err := p.makeRoot(root, busybox); err != nil {
			return nil, fmt.Errorf("make busybox root: %w", err)
		}
	}
	for i := range slices.Max(benchBindCounts[:]) {
		for _, dir := range []string{p.source(i), filepath.Join(p.TargetRoot, p.target(i))} {
			if err := p.mkdir(dir); err != nil {
				return nil, fmt.Errorf("make bind mount's end: %w", err)
			}
		}
	}
	p.binary = p.copyBinary(binary)
	p.findVersions()
	return p, nil
}

// makeRoot fills root with busybox and the directories that container tools mount on, all
// owned by the benchmark's user.
func (p *benchPeers) makeRoot(root, busybox string) error {
	for _, dir := range []string{"bin", "dev", "etc", "mnt", "proc", "root", "run", "sys", "tmp", "var"} {
		if err := p.mkdir(filepath.Join(root, dir)); err != nil {
			return err
		}
	}
	if err := benchCopy(filepath.Join(root, "bin", "busybox"), busybox); err != nil {
		return err
	}
	for _, applet := range []string{"cat", "echo", "ls", "sh", "sleep", "true"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", applet)); err != nil {
			return err
		}
	}
	for name, line := range map[string]string{"passwd": "root:x:0:0:root:/root:/bin/sh\n", "group": "root:x:0:\n"} {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(line), 0o644); err != nil {
			return err
		}
	}
	return filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, p.r.stage.UID, p.r.stage.GID)
	})
}

func (p *benchPeers) mkdir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.Lchown(dir, p.r.stage.UID, p.r.stage.GID)
}

func (p *benchPeers) source(i int) string { return filepath.Join(p.bindSource, strconv.Itoa(i)) }
func (p *benchPeers) target(i int) string { return "/mnt/" + strconv.Itoa(i) }

// copyBinary copies the product, because the tree may lie below a directory that the
// benchmark's user cannot enter.
func (p *benchPeers) copyBinary(binary string) benchArgv {
	dir := filepath.Join(p.r.stage.Dir, "bin")
	if err := p.mkdir(dir); err != nil {
		return benchArgv{Err: err}
	}
	path := filepath.Join(dir, "sandbox")
	if err := benchCopy(path, binary); err != nil {
		return benchArgv{Err: fmt.Errorf("copy the product (run \"make build\" or set SANDBOX_BIN): %w", err)}
	}
	return benchArgv{Args: []string{path}}
}

// sandbox is a command of the product.
func (p *benchPeers) sandbox(args ...string) benchArgv {
	return benchArgv{Args: slices.Concat(p.binary.Args, args), Err: p.binary.Err}
}

// sandboxRun runs args in the busybox root.
func (p *benchPeers) sandboxRun(args ...string) benchArgv {
	return p.sandbox(slices.Concat([]string{"run", "dir:" + p.Root, "--"}, args)...)
}

// sandboxBinds runs /bin/true in root with n bind mounts.
func (p *benchPeers) sandboxBinds(n int, root string) benchArgv {
	args := []string{"run"}
	for i := range n {
		args = append(args, "-v", p.source(i)+":"+p.target(i))
	}
	return p.sandbox(append(args, "dir:"+root, "--", "/bin/true")...)
}

// bwrap runs args in the busybox root; args begin with further options.
func (p *benchPeers) bwrap(args ...string) benchArgv {
	return benchTool("bwrap", slices.Concat([]string{"--unshare-all", "--bind", p.Root, "/"}, args)...)
}

// bwrapHost is the nearest to our host root.
func (p *benchPeers) bwrapHost() benchArgv {
	return benchTool("bwrap", "--unshare-all", "--ro-bind", "/", "/", "--tmpfs", "/tmp", "--tmpfs", "/run",
		"--proc", "/proc", "--dev", "/dev", "/bin/true")
}

func (p *benchPeers) bwrapBinds(n int) benchArgv {
	args := []string{"--proc", "/proc", "--dev", "/dev", "--tmpfs", "/mnt"}
	for i := range n {
		args = append(args, "--ro-bind", p.source(i), p.target(i))
	}
	return p.bwrap(append(args, "/bin/true")...)
}

// firejail has no foreign root for ordinary users, so it is compared over the host's.
func (p *benchPeers) firejail() benchArgv {
	return benchTool("firejail", "--quiet", "--noprofile", "--net=none", "--seccomp", "--caps.drop=all",
		"--private-dev", "--private-tmp", "--ipc-namespace", "--", "/bin/true")
}

func (p *benchPeers) nsjail() benchArgv {
	return benchTool("nsjail", "--mode", "o", "--really_quiet", "--chroot", p.Root, "--", "/bin/true")
}

// podman runs as podman comes, but for cgroups and the log, which no other peer has.
func (p *benchPeers) podman() benchArgv {
	return benchTool("podman", "run", "--rm", "--network=none", "--cgroups=disabled", "--log-driver=none",
		"--rootfs", p.podmanRoot, "/bin/true")
}

// ociOptions are the ways in which crun and runc are measured.
type ociOptions struct {
	Seccomp bool // docker's default profile, compiled by libseccomp at each start
	AllIDs  bool // the user's subordinate ids through newuidmap, instead of the user's own id alone
}

// oci prepares a bundle for an OCI runtime and returns the command that runs it.
func (p *benchPeers) oci(tool string, opt ociOptions) benchArgv {
	argv := benchTool(tool)
	if argv.Err != nil {
		return argv
	}
	name := fmt.Sprintf("%s-%t-%t", tool, opt.Seccomp, opt.AllIDs)
	bundle := filepath.Join(p.r.stage.Dir, "bundles", name)
	if _, err := os.Stat(filepath.Join(bundle, "config.json")); errors.Is(err, fs.ErrNotExist) {
		if err := p.writeBundle(argv.Args[0], bundle, opt); err != nil {
			return benchArgv{Err: fmt.Errorf("prepare bundle for %q: %w", tool, err)}
		}
	}
	state := filepath.Join(p.r.stage.Dir, "run", tool)
	argv.Args = append(argv.Args, "--root", state, "run", "--bundle", bundle, name)
	return argv
}

// writeBundle takes the tool's own rootless example and makes the tools comparable: all seven
// namespaces, the busybox root, /bin/true, no terminal.
func (p *benchPeers) writeBundle(tool, bundle string, opt ociOptions) error {
	if err := p.mkdir(filepath.Dir(bundle)); err != nil {
		return err
	}
	if err := p.mkdir(bundle); err != nil {
		return err
	}
	if _, err := p.r.output(bundle, tool, "spec", "--rootless"); err != nil {
		return err
	}
	path := filepath.Join(bundle, "config.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var spec specs.Spec
	if err := json.Unmarshal(text, &spec); err != nil {
		return fmt.Errorf("parse %q: %w", "config.json", err)
	}
	spec.Process.Terminal = false
	spec.Process.Args = []string{"/bin/true"}
	spec.Root = &specs.Root{Path: p.Root, Readonly: true}
	spec.Linux.Namespaces = []specs.LinuxNamespace{
		{Type: specs.UserNamespace}, {Type: specs.MountNamespace}, {Type: specs.PIDNamespace},
		{Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
		{Type: specs.CgroupNamespace},
	}
	spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(p.r.stage.UID), Size: 1}}
	spec.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(p.r.stage.GID), Size: 1}}
	if opt.AllIDs {
		uids, err := benchSubordinate("/etc/subuid", p.r.stage)
		if err != nil {
			return err
		}
		gids, err := benchSubordinate("/etc/subgid", p.r.stage)
		if err != nil {
			return err
		}
		spec.Linux.UIDMappings = append(spec.Linux.UIDMappings, uids)
		spec.Linux.GIDMappings = append(spec.Linux.GIDMappings, gids)
	}
	if opt.Seccomp {
		if spec.Linux.Seccomp, err = seccomp.GetDefaultProfile(&spec); err != nil {
			return fmt.Errorf("make seccomp profile: %w", err)
		}
	}
	if text, err = json.Marshal(&spec); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// benchSubordinate reads the user's first range of a subid file: "name:100000:65536".
func benchSubordinate(file string, stage *benchStage) (specs.LinuxIDMapping, error) {
	f, err := os.Open(file)
	if err != nil {
		return specs.LinuxIDMapping{}, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		field := strings.Split(lines.Text(), ":")
		if len(field) != 3 || (field[0] != stage.User && field[0] != strconv.Itoa(stage.UID)) {
			continue
		}
		start, err := strconv.ParseUint(field[1], 10, 32)
		if err != nil {
			return specs.LinuxIDMapping{}, fmt.Errorf("parse %q: %w", file, err)
		}
		count, err := strconv.ParseUint(field[2], 10, 32)
		if err != nil {
			return specs.LinuxIDMapping{}, fmt.Errorf("parse %q: %w", file, err)
		}
		return specs.LinuxIDMapping{ContainerID: 1, HostID: uint32(start), Size: uint32(min(count, 65535))}, nil
	}
	if err := lines.Err(); err != nil {
		return specs.LinuxIDMapping{}, fmt.Errorf("read %q: %w", file, err)
	}
	return specs.LinuxIDMapping{}, fmt.Errorf("no range for %q in %q", stage.User, file)
}

// findVersions asks each tool that is there for the first line of its version.
func (p *benchPeers) findVersions() {
	ask := func(name string, argv benchArgv) {
		if argv.Err != nil {
			p.versions[name] = argv.Err.Error()
			return
		}
		out, err := p.r.output(p.r.dir, argv.Args...)
		if err != nil {
			p.versions[name] = err.Error()
			return
		}
		p.versions[name] = benchFirstLine(strings.TrimSpace(out))
	}
	ask("sandbox", p.sandbox("version"))
	for _, tool := range benchTools {
		ask(tool, benchTool(tool, "--version"))
	}
}

// benchPath is where tools are looked for: the caller's PATH, and the directories that an
// ordinary user's PATH lacks.
func benchPath() []string {
	dirs := filepath.SplitList(os.Getenv("PATH"))
	for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// benchTool is a command of a tool found in benchPath.
func benchTool(name string, args ...string) benchArgv {
	for _, dir := range benchPath() {
		path := filepath.Join(dir, name)
		if !filepath.IsAbs(path) {
			continue // an empty or relative entry of PATH means another directory for each caller
		}
		if _, err := exec.LookPath(path); err == nil {
			return benchArgv{Args: append([]string{path}, args...)}
		}
	}
	return benchArgv{Err: fmt.Errorf("%q is not in PATH", name)}
}

// benchStaticBusybox finds a busybox that needs no file beside it.
func benchStaticBusybox() (string, error) {
	const hint = "install busybox-static"
	argv := benchTool("busybox")
	if argv.Err != nil {
		return "", fmt.Errorf("find busybox: %w (%s)", argv.Err, hint)
	}
	path := argv.Args[0]
	f, err := elf.Open(path)
	if err != nil {
		return "", fmt.Errorf("read busybox: %w (%s)", err, hint)
	}
	defer f.Close()
	for _, prog := range f.Progs {
		if prog.Type == elf.PT_INTERP {
			return "", fmt.Errorf("use busybox %q: it is not static (%s)", path, hint)
		}
	}
	return path, nil
}

// benchCopy copies an executable.
func benchCopy(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}
