package cli

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseSize(t *testing.T) {
	runParseCases(t, parseSize, []parseCase[int64]{
		{name: "bytes", in: "4096", want: 4096},
		{name: "b", in: "4096b", want: 4096},
		{name: "m", in: "64m", want: 64 << 20},
		{name: "MB is binary", in: "64MB", want: 64 << 20},
		{name: "GiB", in: "1GiB", want: 1 << 30},
		{name: "blank", in: "1 gb", want: 1 << 30},
		{name: "fraction", in: "1.5k", want: 1536},
		{name: "more digits than a float has", in: "9007199254740993", want: 9007199254740993},
		{name: "largest", in: "1024p", want: 1 << 60},
		{name: "too large", in: "1025p", err: `size "1025p": more than 1024 PiB`},
		{name: "overflow", in: "99999999999999999999", err: "more than 1024 PiB"},
		{name: "overflow with unit", in: "9999999999999999p", err: "more than 1024 PiB"},
		{name: "zero", in: "0", err: `size "0": less than one byte`},
		{name: "nearly zero", in: "0.0001k", err: "less than one byte"},
		{name: "negative", in: "-1", err: "not a size such as 64m"},
		{name: "sign", in: "+1", err: "not a size such as 64m"},
		{name: "exponent", in: "1e3", err: "not a size such as 64m"},
		{name: "hexadecimal", in: "0x10", err: "not a size such as 64m"},
		{name: "underscore", in: "1_000", err: "not a size such as 64m"},
		{name: "two dots", in: "1..5m", err: "not a size such as 64m"},
		{name: "unit alone", in: "m", err: "not a size such as 64m"},
		{name: "unknown unit", in: "1x", err: "not a size such as 64m"},
		{name: "word", in: "inf", err: "not a size such as 64m"},
		{name: "percent", in: "50%", err: "percents are not supported"},
		{name: "empty", in: "", err: `size "": not a size such as 64m`},
	})
}

func TestParseDuration(t *testing.T) {
	runParseCases(t, parseDuration, []parseCase[time.Duration]{
		{name: "seconds", in: "90s", want: 90 * time.Second},
		{name: "mixed", in: "1h30m", want: 90 * time.Minute},
		{name: "days", in: "7d", want: 168 * time.Hour},
		{name: "days and hours", in: "1d12h", want: 36 * time.Hour},
		{name: "fraction", in: "1.5s", want: 1500 * time.Millisecond},
		{name: "no unit", in: "90", err: `duration "90": not a duration such as 90s, 12h or 7d`},
		{name: "zero", in: "0", err: `duration "0": not longer than nothing`},
		{name: "zero days", in: "0d", err: "not longer than nothing"},
		{name: "negative", in: "-1s", err: "not a duration"},
		{name: "negative part", in: "1d-1h", err: "not a duration"},
		{name: "signed part", in: "1d+1h", err: "not a duration"},
		{name: "days alone", in: "d", err: "not a duration"},
		{name: "fraction of days", in: "1.5d", err: "not a duration"},
		{name: "days last", in: "1h1d", err: "not a duration"},
		{name: "too many days", in: "106752d", err: "more than 292 years"},
		{name: "too many with hours", in: "106751d9999999h", err: "not a duration"},
		{name: "too many together", in: "106751d24h", err: "more than 292 years"},
		{name: "empty", in: "", err: `duration "": not a duration`},
	})
}

func TestNearest(t *testing.T) {
	known := []string{"type", "src", "ro", "rw", "max-size", "network.host"}
	for word, want := range map[string]string{
		"typ": "type", "tpye": "type", "TYPES": "type", "maxsize": "max-size", "network": "network.host",
		"x": "", "r": "", "": "", "hello": "", "e": "", "scr": "src", "s": "",
	} {
		if got := nearest(word, known); got != want {
			t.Errorf("nearest to %q is %q, want %q", word, got, want)
		}
	}
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"ab", "ab", 0}, {"ab", "b", 1}, {"ab", "ba", 2}, {"kitten", "mitten", 1}, {"abc", "xyz", 3}, {"a", "abcd", 3}} {
		if got := editDistance(tt.a, tt.b); got != tt.want {
			t.Errorf("from %q to %q are %d edits, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

// testVariables is the environment of a caller.
func testVariables(name string) (string, bool) {
	value, found := map[string]string{"SET": "from caller", "EMPTY": "", "NUL": "a\x00b"}[name]
	return value, found
}

func TestParseEnvFlag(t *testing.T) {
	tests := []struct {
		name, in, want string
		found          bool
		err            string
	}{
		{name: "value", in: "A=b=c", want: "A=b=c", found: true},
		{name: "empty value", in: "A=", want: "A=", found: true},
		{name: "any bytes", in: "A=\n\xff ", want: "A=\n\xff ", found: true},
		{name: "copied", in: "SET", want: "SET=from caller", found: true},
		{name: "copied empty", in: "EMPTY", want: "EMPTY=", found: true},
		{name: "not set", in: "MISSING", want: "MISSING"},
		{name: "no name", in: "=hunter2", err: "environment variable: no variable name; write KEY=VALUE or KEY"},
		{name: "empty", in: "", err: "no variable name"},
		{name: "blank in name", in: "PASS WORD=hunter2", err: `variable name "PASS": a blank`},
		{name: "NUL", in: "A=hunter2\x00", err: `environment variable: value of "A": it has a NUL byte`},
		{name: "copied NUL", in: "NUL", err: `value of "NUL": it has a NUL byte`},
		{name: "invalid UTF-8 in name", in: "\xff=1", err: "variable name: not valid UTF-8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			entry, found, err := parseEnvFlag(tt.in, testVariables)
			if tt.err != "" {
				checkParseError(t, tt.in, err, tt.err)
				if strings.Contains(err.Error(), "hunter2") {
					t.Errorf("the error shows the value: %v", err)
				}
				return
			}
			if err != nil || entry != tt.want || found != tt.found {
				t.Errorf("%q gives %q, %v, %v; want %q, %v", tt.in, entry, found, err, tt.want, tt.found)
			}
		})
	}
}

func TestParseEnvFile(t *testing.T) {
	tests := []struct {
		name, in string
		want     []string
		err      string
	}{
		{name: "empty"},
		{name: "lines", in: "A=1\nB=two words\nA=3", want: []string{"A=1", "B=two words", "A=3"}},
		{name: "comments and blank lines", in: "# A=1\n\n  \t\n  # B=2\nC=#3", want: []string{"C=#3"}},
		{name: "quotes and blanks stay", in: "A=\"x\"\nB= 'y' \n  C=z", want: []string{`A="x"`, "B= 'y' ", "C=z"}},
		{name: "copies", in: "SET\nEMPTY\nMISSING\n", want: []string{"SET=from caller", "EMPTY="}},
		{name: "CRLF", in: "A=1\r\nSET\r\n\r\n", want: []string{"A=1", "SET=from caller"}},
		{name: "byte order mark", in: "\ufeffA=1\nB=2", want: []string{"A=1", "B=2"}},
		{name: "equals in a value", in: "A==b=", want: []string{"A==b="}},
		{name: "no name", in: "A=1\n\n=hunter2", err: "line 3: no variable name"},
		{name: "blank in name", in: "A B=hunter2", err: `line 1: variable name "A": a blank, = or invisible character follows`},
		{name: "blank after name", in: "A =hunter2", err: `line 1: variable name "A": a blank`},
		{name: "export", in: "x=1\nexport A=hunter2", err: `line 2: variable name "export": a blank`},
		{name: "invalid UTF-8", in: "A=1\nB=\xff", err: "line 2: not valid UTF-8"},
		{name: "UTF-16", in: "\xff\xfeA\x00", err: "line 1: not valid UTF-8"},
		{name: "NUL", in: "A=\x00", err: `line 1: value of "A": it has a NUL byte`},
		{name: "copied NUL", in: "NUL", err: `line 1: value of "NUL": it has a NUL byte`},
		{name: "second mark", in: "A=1\n\ufeffB=1", err: "line 2: variable name \"\": a blank, = or invisible character follows"},
		{name: "long line", in: "A=1\nB=" + strings.Repeat("x", maxEnvLine), err: "line 2: longer than 131072 bytes"},
		{name: "long file", in: strings.Repeat(strings.Repeat("#", 99)+"\n", maxEnvFile/100+1), err: "more than 8388608 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseEnvFile(strings.NewReader(tt.in), testVariables)
			if tt.err != "" {
				checkParseError(t, tt.name, err, tt.err)
				if strings.Contains(err.Error(), "hunter2") {
					t.Errorf("the error shows the value: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	broken := io.MultiReader(strings.NewReader("A=1\nB"), iotest.ErrReader(io.ErrUnexpectedEOF))
	if _, err := parseEnvFile(broken, testVariables); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a broken file gives %v", err)
	}
}

func FuzzEnvFile(f *testing.F) {
	for _, s := range []string{"A=1\nB", "# c\n\n\tSET", "\ufeffA=1", "A=\xff", "=x", "A B=1", "A=1\r\n", "A\x00=", "EMPTY\nNUL"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := parseEnvFile(bytes.NewReader(data), testVariables)
		if err != nil {
			if entries != nil || strings.ContainsAny(err.Error(), "\n\x00") {
				t.Fatalf("%q beside %q", entries, err)
			}
			return
		}
		for _, entry := range entries {
			name, value, hasValue := strings.Cut(entry, "=")
			if !hasValue || name == "" || strings.ContainsAny(name, " \t\n\r\x00") || strings.ContainsAny(value, "\n\x00") {
				t.Fatalf("entry %q", entry)
			}
		}
		for _, entry := range entries {
			if strings.HasSuffix(entry, "\r") {
				return // would be part of the end of the line
			}
		}
		// What was read is itself a file that says the same.
		again, err := parseEnvFile(strings.NewReader(strings.Join(entries, "\n")+"\n"), testVariables)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(entries, again); diff != "" {
			t.Fatal(diff)
		}
	})
}
