package image

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestUnpackLikeGNU packs random trees with GNU tar in its formats, unpacks
// them with it and with Unpack, and compares everything that can be seen.
// $N is how many, 50 if unset.
func TestUnpackLikeGNU(t *testing.T) {
	program, err := exec.LookPath("tar")
	if err != nil {
		t.Skip("needs the tar program")
	}
	if out, err := exec.Command(program, "--version").Output(); err != nil || !bytes.Contains(out, []byte("GNU tar")) {
		t.Skip("needs GNU tar")
	}
	count := 50
	if s := os.Getenv("N"); s != "" {
		if count, err = strconv.Atoi(s); err != nil {
			t.Fatalf("read $N: %v", err)
		}
	}
	for seed := range count {
		t.Run(strconv.Itoa(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(seed), 7))
			source, theirs := t.TempDir(), t.TempDir()
			for _, dir := range []string{source, theirs} { // modes that t.TempDir cannot remove
				t.Cleanup(func() { must(t, RemoveContents(openDirectory(t, dir))) })
			}
			randomTree(t, rng, source)
			args := []string{"-c", "-C", source, "--format=" + []string{"gnu", "oldgnu", "pax", "posix"}[rng.IntN(4)]}
			if rng.IntN(2) == 0 {
				args = append(args, "-S", "--sparse-version="+[]string{"0.0", "0.1", "1.0"}[rng.IntN(3)])
			}
			if rng.IntN(3) == 0 {
				args = append(args, "-b1")
			}
			for _, c := range []string{"gzip", "zstd", "xz"} {
				if _, err := exec.LookPath(c); err == nil && rng.IntN(5) == 0 {
					args = append(args, "--"+c)
					break
				}
			}
			packed, err := exec.Command(program, append(args, ".")...).Output()
			if err != nil {
				t.Fatalf("tar %q: %v", args, err)
			}
			file := filepath.Join(t.TempDir(), "archive")
			must(t, os.WriteFile(file, packed, 0o600))
			if out, err := exec.Command(program, "-x", "-p", "--numeric-owner", "-C", theirs, "-f", file).CombinedOutput(); err != nil {
				t.Fatalf("tar -x: %v\n%s", err, out)
			}
			p := newPlace(t)
			if _, err := unpack(t, p, packed, Options{}); err != nil {
				t.Fatalf("%q: %v", args, err)
			}
			if diff := cmp.Diff(listTree(t, theirs), listTree(t, p.root.Name())); diff != "" {
				t.Errorf("%q: - GNU tar, + ours\n%s", args, diff)
			}
		})
	}
}

// randomTree fills dir with files of all kinds, and links between them. Without
// privileges, modes are such that everybody can unpack them.
func randomTree(t *testing.T, rng *rand.Rand, dir string) {
	t.Helper()
	root := os.Geteuid() == 0
	dirs, files := []string{"."}, []string{}
	newName := func() string {
		name := []string{"f", "a b", "ü", "-x", ".wh.y", "new\nline", strings.Repeat("long", 40)}[rng.IntN(7)] + strconv.Itoa(len(dirs)+len(files))
		return filepath.Join(dirs[rng.IntN(len(dirs))], name)
	}
	for range 5 + rng.IntN(40) {
		name := newName()
		path := filepath.Join(dir, name)
		switch rng.IntN(10) {
		case 0, 1, 2:
			must(t, os.Mkdir(path, 0o700))
			dirs = append(dirs, name)
		case 3:
			target := []string{"nowhere", "/", "../../..", strings.Repeat("far/", 50), name}[rng.IntN(5)]
			must(t, os.Symlink(target, path))
			files = append(files, name)
		case 4:
			if len(files) == 0 {
				continue
			}
			must(t, os.Link(filepath.Join(dir, files[rng.IntN(len(files))]), path))
			files = append(files, name)
		case 5:
			must(t, syscall.Mkfifo(path, 0o600))
			files = append(files, name)
		case 6: // sparse
			f, err := os.Create(path)
			must(t, err)
			for range rng.IntN(6) {
				_, err := f.WriteAt([]byte(strings.Repeat("d", 1+rng.IntN(5000))), rng.Int64N(1<<20))
				must(t, err)
			}
			info, err := f.Stat()
			must(t, err)
			must(t, f.Truncate(info.Size()+rng.Int64N(1<<19)))
			must(t, f.Close())
			files = append(files, name)
		default:
			body := make([]byte, []int{0, 1, 511, 512, 513, 5000, 300_000}[rng.IntN(7)])
			for i := 0; i+8 <= len(body); i += 8 {
				binary.LittleEndian.PutUint64(body[i:], rng.Uint64())
			}
			must(t, os.WriteFile(path, body, 0o600))
			files = append(files, name)
		}
	}
	// From the last to the first, so that the time of a directory stays.
	for i := len(files) - 1; i >= 0; i-- {
		randomMetadata(t, rng, filepath.Join(dir, files[i]), root, 0o400)
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		least := uint32(0o500)
		if root {
			least = 0
		}
		randomMetadata(t, rng, filepath.Join(dir, dirs[i]), root, least)
	}
}

func randomMetadata(t *testing.T, rng *rand.Rand, path string, root bool, least uint32) {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	if root { // everybody else could not give it back either
		must(t, os.Lchown(path, rng.IntN(70_000), rng.IntN(3)))
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		mode := rng.Uint32N(0o10000) | least
		if !root {
			mode &^= 0o6000 // tar drops these without -p as root does not
		}
		must(t, unix.Chmod(path, mode))
	}
	when := unix.NsecToTimespec(time.Unix(rng.Int64N(2_000_000_000), 0).UnixNano())
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW))
}
