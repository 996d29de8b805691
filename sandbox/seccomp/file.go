package seccomp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The file* types mirror the JSON. Optional numbers are pointers; Comment fields
// are only there to be permitted.
type fileProfile struct {
	Comment          string       `json:"comment"`
	DefaultAction    string       `json:"defaultAction"`
	DefaultErrnoRet  *uint64      `json:"defaultErrnoRet"`
	DefaultErrno     string       `json:"defaultErrno"` // podman's, beside defaultErrnoRet
	Architectures    []string     `json:"architectures"`
	ArchMap          []fileArch   `json:"archMap"`
	Flags            []string     `json:"flags"`
	ListenerPath     string       `json:"listenerPath"`
	ListenerMetadata string       `json:"listenerMetadata"`
	Syscalls         []*fileGroup `json:"syscalls"`
}

type fileArch struct {
	Arch     string   `json:"architecture"`
	SubArchs []string `json:"subArchitectures"`
}

type fileGroup struct {
	Comment      string      `json:"comment"`
	Name         string      `json:"name"`
	Names        []string    `json:"names"`
	Action       string      `json:"action"`
	ErrnoRet     *uint64     `json:"errnoRet"`
	Errno        string      `json:"errno"` // podman's, beside errnoRet
	ElseErrnoRet *uint64     `json:"elseErrnoRet"`
	Args         []*fileArg  `json:"args"`
	Includes     *fileFilter `json:"includes"`
	Excludes     *fileFilter `json:"excludes"`
}

type fileArg struct {
	Index    uint64 `json:"index"`
	Value    uint64 `json:"value"`
	ValueTwo uint64 `json:"valueTwo"`
	Op       string `json:"op"`
}

type fileFilter struct {
	Caps      []string `json:"caps"`
	Archs     []string `json:"arches"`
	MinKernel string   `json:"minKernel"`
}

// decode reads one JSON value that is the whole text.
func decode(text []byte, into *fileProfile) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("the file is empty")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s: the text ends too early", position(text, int64(len(text))))
	case errors.As(err, &syntax):
		return fmt.Errorf("%s: %w", position(text, syntax.Offset), err)
	case errors.As(err, &mismatch):
		if mismatch.Field == "" {
			return fmt.Errorf("%s: want an object, not %s", position(text, mismatch.Offset), article(mismatch.Value))
		}
		return fmt.Errorf("%s: %q cannot be %s", position(text, mismatch.Offset), mismatch.Field, article(mismatch.Value))
	case err != nil:
		return errors.New(strings.TrimPrefix(err.Error(), "json: ")) // unknown field "x"
	}
	end := d.InputOffset()
	if rest := bytes.TrimSpace(text[end:]); len(rest) > 0 {
		return fmt.Errorf("%s: more text after the profile", position(text, int64(len(text)-len(bytes.TrimLeft(text[end:], " \t\r\n"))+1)))
	}
	return nil
}

// position turns an offset, the number of bytes read, into line and column.
func position(text []byte, offset int64) string {
	read := text[:min(max(offset-1, 0), int64(len(text)))]
	line := bytes.Count(read, []byte("\n")) + 1
	column := len(read) - (bytes.LastIndexByte(read, '\n') + 1) + 1
	return fmt.Sprintf("line %d, column %d", line, column)
}

// article makes package json's names for values readable.
func article(value string) string {
	if strings.HasPrefix(value, "number ") {
		return "the " + value
	}
	switch value {
	case "array", "object":
		return "an " + value
	}
	return "a " + value
}
