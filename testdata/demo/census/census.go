// Command census computes the line that census.c prints, from the same files,
// with the standard library only: two compilers must agree about the input.
package main

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	if err := census(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "census:", err)
		os.Exit(1)
	}
}

func census(dirs []string) error {
	var paths []string
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				paths = append(paths, path)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	slices.Sort(paths)
	hash, size, lines := fnv.New64a(), 0, 0
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		hash.Write(append([]byte(path), 0))
		hash.Write(data)
		size += len(data)
		lines += bytes.Count(data, []byte("\n"))
	}
	fmt.Printf("%d files, %d bytes, %d lines, hash %016x\n", len(paths), size, lines, hash.Sum64())
	return nil
}
