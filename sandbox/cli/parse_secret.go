package cli

import (
	"errors"
	"fmt"
	"strings"
)

// secretSource says where the caller's side of a secret comes from. At most
// one of Src, Env and FD is set; with none, the variable ID, else the file ID.
type secretSource struct {
	ID  string
	Src string // a host path as typed
	Env string // a variable of the caller
	FD  *int   // a descriptor of the caller
}

// parseSecret parses the value of --secret: id=X[,src=PATH|env=VAR|fd=N].
func parseSecret(flag string) (secretSource, error) {
	s, err := parseSecretFields(flag)
	if err != nil {
		return secretSource{}, fmt.Errorf("secret %q: %w", flag, err)
	}
	return s, nil
}

func parseSecretFields(flag string) (secretSource, error) {
	var s secretSource
	if flag != "" && !strings.ContainsAny(flag, "=,\"") {
		return s, fmt.Errorf("not id=NAME[,src=PATH|env=VAR|fd=N]; did you mean %s?", quoteField("id="+flag))
	}
	fields, err := parseFlagFields(flag, []flagKey{{"id"}, {"src", "source"}, {"env"}, {"fd"}})
	if err != nil {
		return s, err
	}
	sources := 0
	for _, f := range fields {
		v, err := f.text()
		if err != nil {
			return s, err
		}
		switch f.name {
		case "id":
			s.ID, err = v, checkName("id", v)
		case "src":
			s.Src, err = parseHostPath("source", v)
		case "env":
			s.Env, err = v, checkVariableName(v)
		case "fd":
			s.FD, err = pointerTo(parseSecretFD(v))
		}
		if err != nil {
			return s, err
		}
		if f.name != "id" {
			sources++
		}
	}
	if s.ID == "" {
		return s, errors.New("no secret named; add id=NAME")
	}
	if sources > 1 {
		return s, errors.New("more than one source; give one of src=, env= and fd=")
	}
	return s, nil
}

// parseSecretFD parses a descriptor to read a secret from: stdin or one that
// the caller opened. 1 and 2 are for writing.
func parseSecretFD(v string) (int, error) {
	n, ok := parseDigits(v, maxFD)
	if !ok || n == 1 || n == 2 {
		return 0, fmt.Errorf("fd %q: not 0 or a number from 3 to %d", v, maxFD)
	}
	return n, nil
}

// sshSource says which keys of the caller an id of ssh mounts stands for.
type sshSource struct {
	ID       string
	Path     string   // an agent's socket or a key file, as typed; "": $SSH_AUTH_SOCK unless KeyFiles
	KeyFiles []string // more private keys, as typed
	Keys     []string // fingerprints or comments of the keys shown; none: all
	MaxSigns int      // how many signatures in all; 0: no limit
}

// parseSSH parses the value of --ssh:
// ID[=SOCKET|KEYFILE][,key=FILE]…[,keys=FINGERPRINT|COMMENT]…[,max-signs=N].
func parseSSH(flag string) (sshSource, error) {
	s, err := parseSSHFields(flag)
	if err != nil {
		return sshSource{}, fmt.Errorf("ssh %q: %w", flag, err)
	}
	return s, nil
}

func parseSSHFields(flag string) (sshSource, error) {
	var s sshSource
	fields, err := splitFlagFields(flag)
	if err != nil {
		return s, err
	}
	known := []string{"key", "keys", "max-signs"}
	id, path, hasPath := strings.Cut(fields[0], "=")
	for _, key := range known {
		if strings.EqualFold(id, key) {
			return s, fmt.Errorf("the id comes first; write default,%s", flag)
		}
	}
	if err := checkName("id", id); err != nil {
		return s, err
	}
	s.ID = id
	if hasPath {
		if s.Path, err = parseHostPath("socket or key file", path); err != nil {
			return s, err
		}
	}
	for _, field := range fields[1:] {
		key, v, hasValue := strings.Cut(field, "=")
		lower := strings.ToLower(key)
		switch {
		case hasValue && lower == "key":
			if v, err = parseHostPath("key file", v); err == nil {
				s.KeyFiles = append(s.KeyFiles, v)
			}
		case hasValue && lower == "keys":
			if err = checkName("keys", v); err == nil {
				s.Keys = append(s.Keys, v)
			}
		case hasValue && lower == "max-signs":
			if s.MaxSigns != 0 {
				err = errors.New("duplicate key 'max-signs'")
			} else {
				s.MaxSigns, err = parseCount("max-signs", v)
			}
		case !hasValue && isPathWord(field):
			err = fmt.Errorf("unexpected %s; write key=%s for one more key file", quoteField(field), field)
		default:
			err = fmt.Errorf("unexpected key %s in %s%s", quoteField(key), quoteField(field), didYouMean(lower, known))
		}
		if err != nil {
			return s, err
		}
	}
	return s, nil
}
