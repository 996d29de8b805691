//go:build bench

package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// The verdicts of a row.
const (
	benchAimMet  = "aim met"
	benchMustMet = "must met"
	benchMissed  = "MISSED"
	benchShown   = "-"       // no limit, or another row has it
	benchNoPeer  = "no peer" // the peer could not be measured
	benchFailed  = "ERROR"   // the product could not be measured
	benchVersion = 1         // of the format of docs/bench.json
	benchMillis  = "ms"      // unit of series that are given as multiples of `sandbox version`
	benchBase    = "start: sandbox version"
)

// benchReport is docs/bench.json. Names are stable and sorted; rows are the table, series what
// it was made from.
type benchReport struct {
	CPUs     int               `json:"cpus"`
	Date     string            `json:"date"`
	Format   int               `json:"format"`
	Kernel   string            `json:"kernel"`
	Machine  string            `json:"machine"`
	Notes    []string          `json:"notes,omitempty"`
	Root     bool              `json:"root"` // prepared by root, measured as an ordinary user
	Rows     []benchResult     `json:"rows"`
	Series   []*benchSeries    `json:"series"`
	Versions map[string]string `json:"versions"`
}

// benchResult is a row with its figures. Absent limits and ratios are left out.
type benchResult struct {
	Against string  `json:"against,omitempty"` // the peer's series; Must and Aim limit the ratio to it
	Aim     float64 `json:"aim,omitempty"`
	Case    string  `json:"case"`
	Must    float64 `json:"must,omitempty"`
	Ours    float64 `json:"ours"`
	Peer    float64 `json:"peer,omitempty"`
	Ratio   float64 `json:"ratio,omitempty"`
	Unit    string  `json:"unit"`
	Verdict string  `json:"verdict"`

	peerUnit string
}

func newBenchReport(stage *benchStage, peers *benchPeers, series []*benchSeries, rows []benchRow) *benchReport {
	report := &benchReport{
		CPUs:     runtime.NumCPU(),
		Date:     time.Now().UTC().Format(time.RFC3339),
		Format:   benchVersion,
		Kernel:   benchKernel(),
		Machine:  runtime.GOARCH,
		Notes:    stage.Notes,
		Root:     stage.Drop,
		Series:   series,
		Versions: peers.versions,
	}
	byName := make(map[string]*benchSeries, len(series))
	for _, s := range series {
		byName[s.Name] = s
	}
	base := byName[benchBase]
	for _, s := range series {
		s.Error = stage.anonymous(s.Error)
		if s.Unit == benchMillis && base.Median > 0 {
			s.XVersions = benchRound(s.Median / base.Median)
		}
	}
	for _, row := range rows {
		report.Rows = append(report.Rows, row.judge(byName))
	}
	for _, s := range series {
		s.Median, s.P10, s.P90 = benchRound(s.Median), benchRound(s.P10), benchRound(s.P90)
	}
	return report
}

// judge compares the medians of a row's series.
func (row benchRow) judge(series map[string]*benchSeries) benchResult {
	ours := series[row.Ours]
	result := benchResult{
		Case: row.Case, Against: row.Peer, Must: benchRound(row.Must), Aim: row.Aim,
		Ours: benchRound(ours.Median), Unit: ours.Unit,
	}
	value := ours.Median
	if row.Peer != "" {
		peer := series[row.Peer]
		result.Peer, result.peerUnit = benchRound(peer.Median), peer.Unit
		if peer.Error != "" {
			result.Verdict = benchNoPeer
		} else {
			value = ours.Median / peer.Median
		}
	}
	switch {
	case ours.Error != "":
		result.Verdict = benchFailed
		return result
	case result.Verdict != "":
		return result
	}
	if row.Peer != "" {
		result.Ratio = benchRound(value)
	}
	switch {
	case row.Must == 0:
		result.Verdict = benchShown
	case value > row.Must:
		result.Verdict = benchMissed
	case row.Aim != 0 && value <= row.Aim:
		result.Verdict = benchAimMet
	default:
		result.Verdict = benchMustMet
	}
	return result
}

// benchRound keeps four digits: more is noise, and makes diffs of the file longer.
func benchRound(v float64) float64 {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return 0
	}
	scale := math.Pow(10, 4-math.Ceil(math.Log10(math.Abs(v))))
	return math.Round(v*scale) / scale
}

func benchKernel() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err.Error()
	}
	return unix.ByteSliceToString(name.Release[:])
}

// text is the table for people, and below it every series.
func (b *benchReport) text() string {
	var out strings.Builder
	fmt.Fprintf(&out, "\n%s, kernel %s, %d CPUs, %s\n", b.Date, b.Kernel, b.CPUs, b.Machine)
	for _, note := range b.Notes {
		fmt.Fprintf(&out, "note: %s\n", note)
	}
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nCASE\tOURS\tPEER\tRATIO\tMUST\tAIM\tVERDICT")
	for _, row := range b.Rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", row.Case,
			benchFigure(row.Ours, row.Unit), benchFigure(row.Peer, row.peerUnit), benchFigure(row.Ratio, "×"),
			benchLimit(row.Must, row), benchLimit(row.Aim, row), row.Verdict)
	}
	fmt.Fprintln(w, "\nSERIES\tMEDIAN\tP10\tP90\tN\t× VERSION\tERROR")
	for _, s := range b.Series {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", s.Name,
			benchFigure(s.Median, s.Unit), benchFigure(s.P10, s.Unit), benchFigure(s.P90, s.Unit),
			s.Samples, benchFigure(s.XVersions, "×"), s.Error)
	}
	fmt.Fprintln(w, "\nTOOL\tVERSION")
	for _, name := range slices.Sorted(maps.Keys(b.Versions)) {
		fmt.Fprintf(w, "%s\t%s\n", name, b.Versions[name])
	}
	w.Flush() // into memory: cannot fail
	return out.String()
}

// benchFigure is a value with its unit, or "-".
func benchFigure(v float64, unit string) string {
	if v == 0 {
		return "-"
	}
	if unit == "×" {
		return fmt.Sprintf("%.3g×", v)
	}
	return fmt.Sprintf("%.4g %s", v, unit)
}

// benchLimit is a limit in the unit that it limits: a ratio where there is a peer.
func benchLimit(limit float64, row benchResult) string {
	if limit == 0 {
		return "-"
	}
	if row.Against != "" {
		return fmt.Sprintf("≤ %.3g×", limit)
	}
	return fmt.Sprintf("≤ %g %s", limit, row.Unit)
}

// write replaces the file in one step.
func (b *benchReport) write(path string) error {
	sorted := *b
	sorted.Series = slices.SortedFunc(slices.Values(b.Series), func(x, y *benchSeries) int { return strings.Compare(x.Name, y.Name) })
	sorted.Rows = slices.SortedFunc(slices.Values(b.Rows), func(x, y benchResult) int { return strings.Compare(x.Case, y.Case) })
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(&sorted); err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, text.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	return os.Rename(temp, path)
}
