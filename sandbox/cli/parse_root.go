package cli

import (
	"fmt"
	"strings"
	"unicode"

	"sandbox.example/sandbox"
)

// rootSchemes are the roots that a scheme and a colon begin.
var rootSchemes = [...]sandbox.RootKind{
	sandbox.RootDir, sandbox.RootTar, sandbox.RootOCI,
	sandbox.RootDockerArchive, sandbox.RootImage, sandbox.RootRef,
}

// parseRoot parses the ROOT of `sandbox run`. Roots made of images are errors
// for now, each saying what to write instead.
func parseRoot(word string) (sandbox.Root, error) {
	root, err := parseRootWord(word)
	if err != nil {
		return sandbox.Root{}, err
	}
	switch root.Kind {
	case sandbox.RootOCI, sandbox.RootDockerArchive, sandbox.RootImage, sandbox.RootRef:
		if root.Kind == sandbox.RootImage && !strings.HasPrefix(word, "image:") {
			return sandbox.Root{}, bareRootError(word)
		}
		return sandbox.Root{}, fmt.Errorf("root %q: image roots come later; use host, dir:PATH, tar:PATH, - or scratch", word)
	}
	return root, nil
}

// bareRootError is about a word that could have been meant as a command, as a
// directory or as an image.
func bareRootError(word string) error {
	command, dir := shellWord(word), shellWord("./"+word)
	if strings.ContainsAny(word, ":@/") {
		return fmt.Errorf(`root %q: images by name come later; for a command write "sandbox run -- %s", for a directory "sandbox run %s -- …"`, word, command, dir)
	}
	return fmt.Errorf(`no root %q (images by name come later); for a command write "sandbox run -- %s", for a directory "sandbox run %s -- …"`, word, command, dir)
}

// shellWord returns s as a shell would need it, on one line.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("./:@_-+,=%", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return quoteField(s)
}

// parseRootWord parses every spelling of a root; a bare word is an image.
func parseRootWord(word string) (sandbox.Root, error) {
	if err := checkPath(word); err != nil {
		return sandbox.Root{}, fmt.Errorf("root %q: %w", word, err)
	}
	switch {
	case word == "host":
		return sandbox.Root{Kind: sandbox.RootHost}, nil
	case word == "scratch":
		return sandbox.Root{Kind: sandbox.RootScratch}, nil
	case word == "-":
		return sandbox.Root{Kind: sandbox.RootTar, Path: "-"}, nil
	case isPathWord(word):
		return sandbox.Root{Kind: sandbox.RootDir, Path: word}, nil
	}
	scheme, rest, found := strings.Cut(word, ":")
	if found {
		for _, kind := range rootSchemes {
			if scheme == string(kind) {
				return schemeRoot(kind, rest)
			}
		}
	}
	if err := checkName("root", word); err != nil {
		return sandbox.Root{}, err
	}
	return sandbox.Root{Kind: sandbox.RootImage, Name: word}, nil
}

// schemeRoot returns the root of a kind whose word went on with rest.
func schemeRoot(kind sandbox.RootKind, rest string) (sandbox.Root, error) {
	root := sandbox.Root{Kind: kind}
	if rest == "" {
		return root, fmt.Errorf("root \"%s:\": nothing follows the colon", kind)
	}
	switch kind {
	case sandbox.RootImage, sandbox.RootRef:
		root.Name = rest
		return root, checkName(string(kind), rest)
	case sandbox.RootOCI:
		root.Path, root.Tag = cutLayoutTag(rest)
		if root.Path == "" {
			return root, fmt.Errorf("root %q: no directory before the tag", "oci:"+rest)
		}
	default:
		root.Path = rest
	}
	return root, nil
}

// cutLayoutTag splits LAYOUT[:TAG]. What follows the last colon is a tag only
// if it is one by OCI's grammar, so a path may have colons before a slash.
func cutLayoutTag(s string) (layout, tag string) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || !isImageTag(s[i+1:]) {
		return s, ""
	}
	return s[:i], s[i+1:]
}

// isImageTag reports whether s is [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}.
func isImageTag(s string) bool {
	if s == "" || len(s) > 128 || strings.ContainsRune(".-", rune(s[0])) {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-", r)
	}) < 0
}

// isPathWord reports whether a word is a path by its looks: names of images
// and caches never begin like this.
func isPathWord(word string) bool {
	return word == "." || word == ".." ||
		strings.HasPrefix(word, "/") || strings.HasPrefix(word, "./") || strings.HasPrefix(word, "../")
}
