package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Flags such as --mount, --secret and --allow hold one CSV record. It is read
// here instead of by encoding/csv, which turns "\r\n" into "\n" inside of
// quotes and drops empty lines: both would change a path silently.

// splitFlagFields splits one CSV record. A field in quotes may hold commas,
// and quotes by doubling them.
func splitFlagFields(record string) ([]string, error) {
	if record == "" {
		return nil, errors.New("empty value")
	}
	var fields []string
	for {
		field, rest, more, err := cutCSVField(record)
		if err != nil {
			return nil, err
		}
		if field == "" {
			return nil, errors.New("empty field; remove the extra comma")
		}
		fields = append(fields, field)
		if !more {
			return fields, nil
		}
		record = rest
	}
}

// cutCSVField returns the first field of record, what follows its comma, and
// whether there was one.
func cutCSVField(record string) (field, rest string, more bool, err error) {
	quoted, isQuoted := strings.CutPrefix(record, `"`)
	if !isQuoted {
		field, rest, more = strings.Cut(record, ",")
		if strings.Contains(field, `"`) {
			bare := strings.ReplaceAll(field, `"`, "")
			return "", "", false, fmt.Errorf("quote inside of %s; quote the whole field: %q", quoteField(field), bare)
		}
		return field, rest, more, nil
	}
	var b strings.Builder
	for {
		part, after, found := strings.Cut(quoted, `"`)
		if !found {
			return "", "", false, fmt.Errorf("missing closing quote in %s", quoteField(record))
		}
		b.WriteString(part)
		if strings.HasPrefix(after, `"`) {
			b.WriteByte('"')
			quoted = after[1:]
			continue
		}
		if after == "" {
			return b.String(), "", false, nil
		}
		if after[0] != ',' {
			return "", "", false, fmt.Errorf("text after the closing quote in %s", quoteField(record))
		}
		return b.String(), after[1:], true, nil
	}
}

// flagKey is the names of one key: the canonical one and its aliases.
type flagKey []string

// flagField is one field of a flag.
type flagField struct {
	raw   string // as typed, but for CSV's quotes
	key   string // as typed, in lower case
	name  string // canonical
	value string
	bare  bool // there was no "="
}

// parseFlagFields splits flag into fields whose keys are among keys, in any
// case and order, each key at most once.
func parseFlagFields(flag string, keys []flagKey) ([]flagField, error) {
	raws, err := splitFlagFields(flag)
	if err != nil {
		return nil, err
	}
	fields := make([]flagField, 0, len(raws))
	for _, raw := range raws {
		typed, value, hasValue := strings.Cut(raw, "=")
		f := flagField{raw: raw, key: strings.ToLower(typed), value: value, bare: !hasValue}
		at := slices.IndexFunc(keys, func(k flagKey) bool { return slices.Contains(k, f.key) })
		if at < 0 {
			near := nearest(f.key, slices.Concat(keys...))
			if near != "" {
				near = fmt.Sprintf(", did you mean '%s'?", near)
			}
			return nil, fmt.Errorf("unexpected key %s in %s%s", quoteField(typed), quoteField(raw), near)
		}
		f.name = keys[at][0]
		if before := slices.IndexFunc(fields, func(o flagField) bool { return o.name == f.name }); before >= 0 {
			return nil, fmt.Errorf("duplicate key '%s': '%s' was given before", f.key, fields[before].key)
		}
		fields = append(fields, f)
	}
	return fields, nil
}

// text returns the value of a key that needs one.
func (f flagField) text() (string, error) {
	if f.bare {
		return "", fmt.Errorf("invalid field %s: write %s=VALUE", quoteField(f.raw), f.key)
	}
	if f.value == "" {
		return "", fmt.Errorf("empty value for key '%s'", f.key)
	}
	return f.value, nil
}

// switchedOn returns the value of a yes-or-no key; the key alone is yes.
func (f flagField) switchedOn() (bool, error) {
	if f.bare {
		return true, nil
	}
	switch strings.ToLower(f.value) {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, fmt.Errorf("%s %q: not true or false", f.key, f.value)
}

// quoteField puts single quotes around s, for the error texts that people know
// with them, and keeps the message on one line whatever s is.
func quoteField(s string) string {
	q := strconv.Quote(s)
	return "'" + strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`) + "'"
}

// didYouMean returns the end of an error about a word that is none of known:
// `, did you mean "x"?`, or nothing when none is near.
func didYouMean(word string, known []string) string {
	if near := nearest(word, known); near != "" {
		return fmt.Sprintf(", did you mean %q?", near)
	}
	return ""
}

// nearest returns the first of known that is at most two edits away from word,
// the closest one; else the only one that contains word, or "".
func nearest(word string, known []string) string {
	word = strings.ToLower(word)
	best, bestEdits := "", 3
	for _, k := range known {
		// As many edits as letters would make anything of anything.
		if n := editDistance(word, k); n < bestEdits && n < len(word) && n < len(k) {
			best, bestEdits = k, n
		}
	}
	if best != "" || len(word) < 3 {
		return best
	}
	for _, k := range known {
		if !strings.Contains(k, word) {
			continue
		}
		if best != "" {
			return ""
		}
		best = k
	}
	return best
}

// editDistance returns how many bytes to insert, remove or replace to make b
// of a, or 3 when the lengths alone make it more than two.
func editDistance(a, b string) int {
	if len(a)-len(b) > 2 || len(b)-len(a) > 2 {
		return 3
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			edits := diagonal
			if a[i] != b[j] {
				edits++
			}
			diagonal = row[j+1]
			row[j+1] = min(edits, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
