package userns

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
)

// Range is one line of an id map: Count ids from Inside on stand for as many
// from Outside on (user_namespaces(7)).
type Range struct {
	Inside, Outside, Count int64
}

// IDs is a pair of id maps.
type IDs struct {
	UIDs, GIDs []Range
}

// Current returns the maps of this process's own user namespace.
func Current() (IDs, error) {
	var ids IDs
	var err error
	if ids.UIDs, err = readMap("/proc/self/uid_map"); err != nil {
		return IDs{}, err
	}
	if ids.GIDs, err = readMap("/proc/self/gid_map"); err != nil {
		return IDs{}, err
	}
	return ids, nil
}

func readMap(path string) ([]Range, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := parseMap(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return m, nil
}

func parseMap(r io.Reader) ([]Range, error) {
	var m []Range
	for s := bufio.NewScanner(r); s.Scan(); {
		var l Range
		if _, err := fmt.Sscan(s.Text(), &l.Inside, &l.Outside, &l.Count); err != nil {
			return nil, fmt.Errorf("line %q: %w", s.Text(), err)
		}
		m = append(m, l)
	}
	return m, nil
}

// Single tells whether there is no more than one uid or one gid.
func (ids IDs) Single() bool { return count(ids.UIDs) <= 1 || count(ids.GIDs) <= 1 }

// Nested returns the map of a child namespace that has the same ids as this
// one: the kernel wants each line of a child's map inside one line of its
// parent's, so every line is mirrored.
func (ids IDs) Nested() IDs {
	mirror := func(m []Range) []Range {
		out := make([]Range, len(m))
		for i, l := range m {
			out[i] = Range{l.Inside, l.Inside, l.Count}
		}
		return out
	}
	return IDs{mirror(ids.UIDs), mirror(ids.GIDs)}
}

// UID returns the id outside that stands for uid, false if the map lacks it.
func (ids IDs) UID(uid int) (int, bool) { return lookup(ids.UIDs, uid) }

// GID is UID for groups.
func (ids IDs) GID(gid int) (int, bool) { return lookup(ids.GIDs, gid) }

func lookup(m []Range, id int) (int, bool) {
	for _, l := range m {
		if d := int64(id) - l.Inside; d >= 0 && d < l.Count {
			return int(l.Outside + d), true
		}
	}
	return 0, false
}

// Format returns a map as people read it: "0-65535", "0".
func Format(m []Range) string {
	var b strings.Builder
	for i, l := range m {
		if i > 0 {
			b.WriteString(", ")
		}
		if l.Count == 1 {
			fmt.Fprintf(&b, "%d", l.Inside)
		} else {
			fmt.Fprintf(&b, "%d-%d", l.Inside, l.Inside+l.Count-1)
		}
	}
	return b.String()
}
