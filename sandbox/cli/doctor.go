package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"sandbox.example/sandbox"
)

// doctorCmd is "sandbox doctor".
type doctorCmd struct {
	JSON  bool   `help:"Print one JSON object."`
	Probe string `hidden:"" env:"-"` // the child's side of a real attempt
}

// Help is shown below the flags by --help.
func (*doctorCmd) Help() string {
	return `Tries, by real calls, everything that sandboxes need or can use, and tells for
each what was found: ok, degraded or missing, with cause and cure and who can
apply it. Nothing stays behind.

Exit codes: 0 all is ok, 1 something is degraded or missing, 2 "sandbox run"
cannot work here.`
}

// The exit codes of doctor.
const (
	doctorOK       = 0
	doctorDegraded = 1
	doctorCannot   = 2
)

func (c *doctorCmd) run(ctx context.Context, env *environment) (int, error) {
	if c.Probe != "" {
		return 0, sandbox.RunProbe(c.Probe, env.out)
	}
	report := sandbox.Diagnose(ctx)
	var err error
	if c.JSON {
		err = printJSON(env.out, report)
	} else {
		err = printReport(env.out, report)
	}
	if err != nil {
		return 0, fmt.Errorf("print the report: %w", err)
	}
	switch report.Status {
	case sandbox.CheckOK:
		return doctorOK, nil
	case sandbox.CheckDegraded:
		return doctorDegraded, nil
	}
	return doctorCannot, nil
}

// printReport writes the checks as a table for people: one line each, causes
// and cures below it.
func printReport(w io.Writer, r sandbox.Report) error {
	var b strings.Builder
	lines := make([]line, 0, len(r.Checks))
	for _, c := range r.Checks {
		lines = append(lines, line{c.Status, c.Name, c.Detail, c.Cause, c.Cure, string(c.Who)})
	}
	writeLines(&b, lines)
	b.WriteString("\nways into a user namespace, in the order tried (* is taken):\n")
	for _, way := range r.Ways {
		mark := " "
		if way.Taken {
			mark = "*"
		}
		state, text := "open", way.Detail
		if way.Status == sandbox.CheckMissing {
			state, text = "closed", way.Cause
		}
		fmt.Fprintf(&b, "%s %-6s  %-6s  %s\n", mark, way.Name, state, oneLine(text))
	}
	b.WriteString("\n" + verdict(r) + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// line is a check in the table.
type line struct {
	status                         sandbox.CheckStatus
	name, detail, cause, cure, who string
}

func writeLines(b *strings.Builder, lines []line) {
	width := 0
	for _, l := range lines {
		width = max(width, len(l.name))
	}
	for _, l := range lines {
		fmt.Fprintf(b, "%-8s  %-*s  %s\n", l.status, width, l.name, oneLine(l.detail))
		if l.cause != "" {
			fmt.Fprintf(b, "          cause: %s\n", oneLine(l.cause))
		}
		if l.cure != "" {
			fmt.Fprintf(b, "          cure (%s): %s\n", l.who, oneLine(l.cure))
		}
	}
}

// oneLine keeps what came from files and helpers from moving the terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

func verdict(r sandbox.Report) string {
	var weaker, lacking []string
	for _, c := range r.Checks {
		switch {
		case c.Status == sandbox.CheckOK:
		case c.Needs && c.Status == sandbox.CheckMissing:
			lacking = append(lacking, c.Name)
		default:
			weaker = append(weaker, c.Name)
		}
	}
	switch {
	case len(lacking) > 0:
		return `"sandbox run" cannot work here: ` + strings.Join(lacking, ", ")
	case len(weaker) > 0:
		return `"sandbox run" works here, with less: ` + strings.Join(weaker, ", ")
	}
	return `"sandbox run" works here, with everything`
}
