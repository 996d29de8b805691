package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "sandbox.example"

// layer is a package of ours: which others of ours it may import. Arrows
// point down this list, and a leaf imports nothing of ours.
type layer struct {
	name    string
	imports []string
}

// layers are all packages there may be (docs: how it works). A new one is
// added here on purpose, with its arrows.
func layers() []layer {
	leaves := []string{
		"cachefs", "fusefs", "netns", "pty",
		"sandbox/image", "sandbox/runc", "sandbox/store", "sandbox/userns",
	}
	list := []layer{
		{"", []string{"sandbox/cli", "sandbox/runc/initstage", "sandbox/userns"}},
		{"sandbox/cli", append([]string{"sandbox", "sandbox/gateway", "sandbox/seccomp"}, leaves...)},
		{"sandbox/gateway", []string{"sandbox"}},
		{"sandbox", append([]string{"sandbox/seccomp", "sandbox/stage"}, leaves...)},
		// Below the leaves: data that one or two of them embed.
		{"sandbox/runc", []string{"sandbox/seccomp", "sandbox/stage"}},
		{"sandbox/runc/initstage", nil}, // runs before any other import of ours is initialised
		{"sandbox/userns", []string{"sandbox/stage"}},
		{"sandbox/image", []string{"sandbox/store"}},
		// run by go generate, no part of the product
		{"sandbox/seccomp/gen", []string{"sandbox/seccomp", "sandbox/seccomp/internal/gen"}},
		{"sandbox/seccomp/internal/gen", []string{"sandbox/seccomp"}},
	}
	named := func(name string) bool {
		return slices.ContainsFunc(list, func(l layer) bool { return l.name == name })
	}
	for _, leaf := range append(leaves, "sandbox/seccomp", "sandbox/stage") {
		if !named(leaf) {
			list = append(list, layer{leaf, nil})
		}
	}
	return list
}

// owners says which packages may import a library directly; the reason is
// what the error shows. "sandbox" means this package alone.
func owners() []owner {
	return []owner{
		{"github.com/alecthomas/kong", []string{"sandbox/cli"}, "flags become plain structs in the command line package"},
		{"github.com/opencontainers/runc", []string{"sandbox/runc", "sandbox/runc/initstage"}, "libcontainer's types stay behind our own"},
		{"github.com/opencontainers/cgroups", []string{"sandbox/runc"}, "libcontainer's types stay behind our own"},
		{"github.com/rootless-containers/rootlesskit", []string{"sandbox/userns"}, "one package makes user namespaces"},
		{"github.com/hanwen/go-fuse", []string{"cachefs", "fusefs"}, "file systems are served by two packages"},
		{"google.golang.org/grpc", []string{"sandbox/gateway"}, "protobuf ends at the gateway"},
		{"google.golang.org/protobuf", []string{"sandbox/gateway"}, "protobuf ends at the gateway"},
		{"gvisor.dev/gvisor", []string{"netns"}, "the network stack belongs to the network package"},
		{"github.com/google/go-containerregistry", []string{"sandbox/image"}, "registries are reached by the image package"},
		{"github.com/moby/profiles", []string{"sandbox/seccomp/gen", "sandbox/seccomp/internal/gen"}, "the default profile is compiled when it is generated"},
		{"testing", nil, "the product links no test code"},
	}
}

type owner struct {
	library string
	by      []string
	reason  string
}

// goPackage is what "go list -json" tells of a package.
type goPackage struct {
	ImportPath string
	Imports    []string
	Standard   bool
	Error      *struct{ Err string }
	GoFiles    []string
	CgoFiles   []string
}

// TestLayering keeps the packages and the arrows between them what the design
// says.
func TestLayering(t *testing.T) {
	packages := listPackages(t)
	for _, problem := range checkLayers(packages) {
		t.Error(problem)
	}
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,Standard,Error,GoFiles,CgoFiles", "./...")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var packages []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("read the answer of go list: %v", err)
		}
		packages = append(packages, p)
	}
}

// checkLayers returns one line for every arrow that turns and every package
// that has no place. It looks at non-test files: a test may import more.
func checkLayers(packages []goPackage) []string {
	var problems []string
	all := layers()
	for _, p := range packages {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		at := slices.IndexFunc(all, func(l layer) bool { return l.name == name })
		if at < 0 {
			problems = append(problems, fmt.Sprintf("package %q has no place in layering_test.go", p.ImportPath))
			continue
		}
		for _, imported := range p.Imports {
			if ours, ok := ourName(imported); ok && !slices.Contains(all[at].imports, ours) {
				problems = append(problems, fmt.Sprintf("%q imports %q: this arrow does not point down", p.ImportPath, imported))
			}
			for _, o := range owners() {
				if (imported == o.library || strings.HasPrefix(imported, o.library+"/")) && !slices.Contains(o.by, name) {
					problems = append(problems, fmt.Sprintf("%q imports %q: %s", p.ImportPath, imported, o.reason))
				}
			}
		}
	}
	return problems
}

func ourName(path string) (string, bool) {
	if path == module {
		return "", true
	}
	return strings.CutPrefix(path, module+"/")
}

// TestLayeringRules shows that the check finds what it is for, and that the
// allowed arrows have no circle.
func TestLayeringRules(t *testing.T) {
	for _, tt := range []struct {
		name string
		pkg  goPackage
		want string // part of the only problem; "" for none
	}{
		{"down", goPackage{ImportPath: module + "/sandbox/cli", Imports: []string{module + "/sandbox", "github.com/alecthomas/kong"}}, ""},
		{"up", goPackage{ImportPath: module + "/sandbox", Imports: []string{module + "/sandbox/cli"}}, "does not point down"},
		{"leaf to leaf", goPackage{ImportPath: module + "/fusefs", Imports: []string{module + "/cachefs"}}, "does not point down"},
		{"to main", goPackage{ImportPath: module + "/pty", Imports: []string{module}}, "does not point down"},
		{"unknown", goPackage{ImportPath: module + "/util"}, "has no place"},
		{"library", goPackage{ImportPath: module + "/sandbox", Imports: []string{"github.com/opencontainers/runc/libcontainer"}}, "libcontainer's types"},
		{"library's neighbour", goPackage{ImportPath: module + "/pty", Imports: []string{"testing/iotest2", "testingx"}}, "links no test code"},
		{"no library", goPackage{ImportPath: module + "/pty", Imports: []string{"testingx"}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := checkLayers([]goPackage{tt.pkg})
			switch {
			case tt.want == "" && len(got) == 0:
			case tt.want != "" && len(got) == 1 && strings.Contains(got[0], tt.want):
			default:
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}

	below := map[string][]string{}
	for _, l := range layers() {
		below[l.name] = l.imports
	}
	var visit func(name string, above []string)
	visit = func(name string, above []string) {
		if slices.Contains(above, name) {
			t.Fatalf("the arrows go in a circle: %q", append(above, name))
		}
		for _, n := range below[name] {
			visit(n, append(slices.Clone(above), name))
		}
	}
	visit("", nil)
}
