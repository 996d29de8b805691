package image

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// nameMax is the longest file name that Linux takes.
const nameMax = 255

// splitName checks the name of an entry, or the target of a hard link, and
// splits it below the root: "/a//./b/" gives "a" and "b". The parent is "." for
// a name in the root itself; the base is "." for the root.
func splitName(name string, limits Limits) (parent, base string, err error) {
	switch {
	case name == "":
		return "", "", errors.New("the name is empty")
	case len(name) > limits.NameBytes:
		return "", "", overLimit("length of the name", int64(limits.NameBytes))
	case strings.IndexByte(name, 0) >= 0:
		return "", "", errors.New("the name holds a NUL byte")
	}
	depth := 0
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "" || part == ".":
			continue
		case part == "..":
			return "", "", errors.New(`the name has a ".." part`)
		case len(part) > nameMax:
			return "", "", overLimit("length of a part of the name", nameMax)
		}
		depth++
	}
	if depth > limits.Depth {
		return "", "", overLimit("depth of the name", int64(limits.Depth))
	}
	// There is no ".." left, so that Clean drops nothing but "." and "".
	clean := path.Clean("/" + name)[1:]
	if clean == "" {
		return ".", ".", nil
	}
	if i := strings.LastIndexByte(clean, '/'); i >= 0 {
		return clean[:i], clean[i+1:], nil
	}
	return ".", clean, nil
}

// checkSymlink checks the target of a symlink. It is stored as it is: where it
// leads is decided when it is followed, inside of the root.
func checkSymlink(target string, limits Limits) error {
	switch {
	case target == "":
		return errors.New("the symlink has no target")
	case len(target) > limits.NameBytes:
		return overLimit("length of the symlink's target", int64(limits.NameBytes))
	case strings.IndexByte(target, 0) >= 0:
		return fmt.Errorf("the symlink's target %s holds a NUL byte", quote(target))
	}
	return nil
}
