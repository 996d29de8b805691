package cli

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write generated files instead of comparing them")

// The C constructor must cut the command line exactly where the parser does.
func TestConstructorFlags(t *testing.T) {
	want, err := constructorFlags()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("..", "userns", "flags.h")
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the grammar says: run make generate", path)
	}
}
