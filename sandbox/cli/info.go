package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"sandbox.example/sandbox"
)

// infoCmd is "sandbox info".
type infoCmd struct {
	JSON bool `help:"Print one JSON object."`
}

// Help is shown below the flags by --help.
func (*infoCmd) Help() string {
	return `Reads and prints; it tries nothing and makes nothing. "sandbox doctor" tries.`
}

// information is what info prints.
type information struct {
	Version string `json:"version"`
	sandbox.Info
}

func (c *infoCmd) run(_ context.Context, env *environment) (int, error) {
	described, err := sandbox.Describe()
	if err != nil {
		return 0, err
	}
	if c.JSON {
		return 0, printJSON(env.out, information{version, described})
	}
	return 0, printInfo(env.out, information{version, described})
}

func printInfo(w io.Writer, i information) error {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name string, format string, args ...any) {
		fmt.Fprintf(table, "%s\t%s\n", name, oneLine(fmt.Sprintf(format, args...)))
	}
	row("version", "%s, %s", i.Version, i.Go)
	row("kernel", "%s %s", i.Kernel, i.Arch)
	row("user", "uid %d, gid %d", i.UID, i.GID)
	if i.WayWhy != "" {
		row("way in", "%s (%s)", i.Way, i.WayWhy)
	} else {
		row("way in", "%s", i.Way)
	}
	switch {
	case i.Holder == nil:
		row("holder", "none")
	case i.Holder.Used:
		row("holder", "pid %d, in use", i.Holder.PID)
	default:
		row("holder", "pid %d, idle for %v s", i.Holder.PID, i.Holder.IdleSeconds)
	}
	for _, d := range []struct{ name, path string }{
		{"runtime", i.Dirs.Runtime}, {"state", i.Dirs.State}, {"data", i.Dirs.Data}, {"cache", i.Dirs.Cache},
	} {
		if d.path == "" {
			row(d.name+" directory", "none yet")
		} else {
			row(d.name+" directory", "%q", d.path)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(i.Features)) {
		row(name, "%s", i.Features[name])
	}
	for _, name := range slices.Sorted(maps.Keys(i.Programs)) {
		if path := i.Programs[name]; path != "" {
			row(name, "%q", path)
		} else {
			row(name, "not in PATH")
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, b.String())
	return err
}
