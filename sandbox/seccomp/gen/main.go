// Command gen writes the generated files of package seccomp into the current
// directory: "tables" the table of system calls, "filters" the default profiles
// and their compiled filters. Run it by go generate ./sandbox/seccomp, which
// does both in this order: the second is built with the table of the first.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"sandbox.example/sandbox/seccomp"
	"sandbox.example/sandbox/seccomp/internal/gen"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "gen: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 1 {
		switch args[0] {
		case "tables":
			return tables()
		case "filters":
			return filters()
		}
	}
	return errors.New("usage: gen tables|filters")
}

func tables() error {
	out, err := exec.Command("go", "list", "-m", "-json", "golang.org/x/sys").Output()
	if err != nil {
		return fmt.Errorf("find module golang.org/x/sys: %w", err)
	}
	var module struct{ Dir, Version string }
	if err := json.Unmarshal(out, &module); err != nil {
		return fmt.Errorf("read output of go list: %w", err)
	}
	source, err := gen.Tables(module.Dir, module.Version)
	if err != nil {
		return err
	}
	return os.WriteFile("zz_syscalls.go", source, 0o644)
}

func filters() error {
	for _, nesting := range []bool{false, true} {
		profile, err := gen.Profile(nesting)
		if err != nil {
			return err
		}
		name := "zz_default.json"
		variants := map[seccomp.Variant][]string{seccomp.ForCaps: seccomp.DefaultCaps(), seccomp.ForNoCaps: nil}
		if nesting {
			name = "zz_nesting.json"
			variants = map[seccomp.Variant][]string{seccomp.ForNesting: seccomp.DefaultCaps()}
		}
		if err := os.WriteFile(name, profile, 0o644); err != nil {
			return err
		}
		for _, arch := range []string{"amd64", "arm64"} {
			for variant, caps := range variants {
				// Rules for newer kernels do no harm on older ones.
				t := seccomp.Target{Arch: arch, Caps: caps, Kernel: "99.0"}
				filter, err := seccomp.Compile(profile, t)
				if err != nil {
					return err
				}
				if err := os.WriteFile(fmt.Sprintf("zz_%s_%v.bin", arch, variant), filter, 0o644); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
