//go:build bench

package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The benchmark is two processes of the test binary:
//
//	go test → keeper: makes the place, adopts and at the end kills every process that is left,
//	          removes the place
//	           └─ worker: measures (benchMeasure)
//
// As root, the keeper's thread has a mount namespace of its own in which /sys/fs/cgroup is a pure
// cgroup2 with a folder of the benchmark's user: on hosts with the hybrid layout crun and podman
// start in no other way. The worker stays root, to read the memory of non-dumpable processes;
// what it measures runs as that user.
const (
	benchStageEnv  = "BENCH_STAGE" // set in the worker only: a benchStage as JSON
	benchUserName  = "sbxbench"
	benchCgroupDir = "/sys/fs/cgroup"
)

// benchStage is what the keeper prepared.
type benchStage struct {
	Dir    string // belongs to the user; removed at the end
	User   string
	UID    int
	GID    int
	Drop   bool     // the worker is root and starts its commands as UID
	Keeper int      // its descendants are all processes of the benchmark
	Notes  []string // what could not be prepared
}

func parseBenchStage(text string) (*benchStage, error) {
	stage := new(benchStage)
	if err := json.Unmarshal([]byte(text), stage); err != nil {
		return nil, fmt.Errorf("parse %s: %w", benchStageEnv, err)
	}
	return stage, nil
}

// anonymous takes the name of the private directory out of a message.
func (s *benchStage) anonymous(text string) string {
	return strings.ReplaceAll(text, s.Dir, "$DIR")
}

// benchPrepare is the keeper.
func benchPrepare(t *testing.T) {
	// Never unlocked: the thread changes its mount namespace, and the worker must die with it.
	runtime.LockOSThread()
	stage, err := newBenchStage()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.RemoveAll(stage.Dir); err != nil {
			t.Error(err)
		}
	}()
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if stage.Drop {
		cgroup, err := stage.makeCgroup()
		if err != nil {
			stage.Notes = append(stage.Notes, err.Error())
		} else {
			defer func() {
				if err := benchRemoveCgroup(filepath.Dir(cgroup.Name())); err != nil {
					t.Error(err)
				}
			}()
			defer cgroup.Close()
			attr.UseCgroupFD, attr.CgroupFD = true, int(cgroup.Fd())
		}
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(os.NewSyscallError("prctl PR_SET_CHILD_SUBREAPER", err))
	}
	defer func() {
		if err := benchKillAll(); err != nil {
			t.Error(err)
		}
	}()
	if err := stage.runWorker(t.Context(), attr); err != nil {
		t.Error(err)
	}
}

// newBenchStage chooses the user and makes the directory.
func newBenchStage() (*benchStage, error) {
	stage := &benchStage{Keeper: os.Getpid(), Drop: os.Getuid() == 0}
	who, err := user.Current()
	if err != nil {
		return nil, fmt.Errorf("look up the caller: %w", err)
	}
	if stage.Drop {
		if who, err = benchMakeUser(); err != nil {
			return nil, err
		}
	} else {
		stage.Notes = append(stage.Notes, "not root: no cgroup of our own, crun and podman may refuse to start, memory may be unreadable")
	}
	stage.User = who.Username
	if stage.UID, err = strconv.Atoi(who.Uid); err != nil {
		return nil, fmt.Errorf("parse uid of %q: %w", who.Username, err)
	}
	if stage.GID, err = strconv.Atoi(who.Gid); err != nil {
		return nil, fmt.Errorf("parse gid of %q: %w", who.Username, err)
	}
	// Short, because podman and conmon bind sockets below it (108 bytes).
	if stage.Dir, err = os.MkdirTemp("", "sbx-"); err != nil {
		return nil, fmt.Errorf("make directory for the benchmark: %w", err)
	}
	err = errors.Join(os.Chmod(stage.Dir, 0o755), os.Lchown(stage.Dir, stage.UID, stage.GID))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make directory for the benchmark: %w", err), os.Remove(stage.Dir))
	}
	return stage, nil
}

// benchMakeUser returns the user that root measures as, and makes it when there is none. It
// stays on the machine, like the ranges of subordinate ids it got.
func benchMakeUser() (*user.User, error) {
	who, err := user.Lookup(benchUserName)
	if errors.As(err, new(user.UnknownUserError)) {
		// The shell is one that runs, because firejail starts commands through it.
		out, err := exec.Command("useradd", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/sh",
			"--user-group", benchUserName).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("make user %q: %w: %s", benchUserName, err, benchFirstLine(string(out)))
		}
		if who, err = user.Lookup(benchUserName); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	for file, option := range map[string]string{"/etc/subuid": "--add-subuids", "/etc/subgid": "--add-subgids"} {
		first, found, err := benchFreeSubordinate(file)
		if err != nil {
			return nil, err
		}
		if found {
			continue
		}
		ids := fmt.Sprintf("%d-%d", first, first+65535)
		if out, err := exec.Command("usermod", option, ids, benchUserName).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("give subordinate ids to %q: %w: %s", benchUserName, err, benchFirstLine(string(out)))
		}
	}
	return who, nil
}

// benchFreeSubordinate tells whether a subid file has a range for the benchmark's user, and the
// first id behind all ranges.
func benchFreeSubordinate(file string) (first int, found bool, err error) {
	first = 100000
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return first, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, ids, _ := strings.Cut(lines.Text(), ":")
		if name == benchUserName {
			found = true
		}
		var start, count int
		if _, err := fmt.Sscanf(ids, "%d:%d", &start, &count); err != nil {
			continue // a comment, or a line that shadow's tools ignore too
		}
		first = max(first, start+count)
	}
	if err := lines.Err(); err != nil {
		return 0, false, fmt.Errorf("read %q: %w", file, err)
	}
	return first, found, nil
}

// makeCgroup gives the calling thread a mount namespace with a pure cgroup2, and returns the
// open cgroup for the worker, whose parent belongs to the user too.
func (s *benchStage) makeCgroup() (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return nil, fmt.Errorf("make mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("cgroup2", benchCgroupDir, "cgroup2", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return nil, fmt.Errorf("mount cgroup2 on %q: %w", benchCgroupDir, err)
	}
	// The user owns the directories and the files by which processes move, as systemd's
	// delegation does it.
	top := filepath.Join(benchCgroupDir, filepath.Base(s.Dir))
	leaf := filepath.Join(top, "worker")
	for _, dir := range []string{top, leaf} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, errors.Join(fmt.Errorf("make cgroup: %w", err), benchRemoveCgroup(top))
		}
		for _, name := range []string{"", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"} {
			if err := os.Chown(filepath.Join(dir, name), s.UID, s.GID); err != nil {
				return nil, errors.Join(fmt.Errorf("delegate cgroup: %w", err), benchRemoveCgroup(top))
			}
		}
	}
	f, err := os.Open(leaf)
	if err != nil {
		return nil, errors.Join(err, benchRemoveCgroup(top))
	}
	return f, nil
}

// benchRemoveCgroup removes an empty tree of cgroups, whose files cannot be removed and need
// not be.
func benchRemoveCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove cgroup: %w", err)
	}
	var problems []error
	for _, e := range entries {
		if e.IsDir() {
			problems = append(problems, benchRemoveCgroup(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(append(problems, os.Remove(dir))...)
}

// runWorker starts the worker and reaps it and all orphans until it has ended. Orphans must not
// stay zombies: who waits for a process by looking for its id would wait for ever.
func (s *benchStage) runWorker(ctx context.Context, attr *syscall.SysProcAttr) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{self, "-test.run=^TestBench$"}
	if f := flag.Lookup("test.timeout"); f != nil {
		limit, err := time.ParseDuration(f.Value.String())
		if err != nil {
			return err
		}
		// The worker gives up first, so that the keeper can clean up.
		args = append(args, "-test.timeout="+max(limit-time.Minute, limit/2).String())
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	pid, err := syscall.ForkExec(self, args, &syscall.ProcAttr{
		Env:   append(os.Environ(), benchStageEnv+"="+string(text)),
		Files: []uintptr{0, 1, 2},
		Sys:   attr,
	})
	if err != nil {
		return fmt.Errorf("start the worker: %w", err)
	}
	// The id is safe to use until the loop below has reaped it, which comes after.
	undo := context.AfterFunc(ctx, func() { syscall.Kill(pid, syscall.SIGKILL) })
	defer undo()
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return os.NewSyscallError("wait4", err)
		case got != pid:
		case ctx.Err() != nil:
			return fmt.Errorf("stop the benchmark: %w", context.Cause(ctx))
		case status.Exited() && status.ExitStatus() == 0:
			return nil
		case status.Exited():
			return fmt.Errorf("the worker ended with exit code %d", status.ExitStatus())
		default:
			return fmt.Errorf("the worker was killed by %q", status.Signal())
		}
	}
}

// benchKillAll ends and reaps every process that the benchmark left: holders, podman's pause
// process, what an interrupted command started.
func benchKillAll() error {
	for {
		left, err := benchDescendants(os.Getpid())
		if err != nil {
			return err
		}
		for pid := range maps.Keys(left) {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("kill process %d: %w", pid, err)
			}
		}
		_, err = syscall.Wait4(-1, nil, 0, nil)
		switch {
		case errors.Is(err, syscall.ECHILD):
			return nil
		case err != nil && !errors.Is(err, syscall.EINTR):
			return os.NewSyscallError("wait4", err)
		}
	}
}
