package sandbox

// RootKind says what a Root is made of.
type RootKind string

// The kinds of roots.
const (
	RootHost          RootKind = "host"           // the caller's own root
	RootDir           RootKind = "dir"            // a directory, at Path
	RootTar           RootKind = "tar"            // a tar file at Path, or "-": stdin
	RootScratch       RootKind = "scratch"        // nothing at all
	RootOCI           RootKind = "oci"            // an OCI layout at Path, image Tag
	RootDockerArchive RootKind = "docker-archive" // a `docker save` file at Path
	RootImage         RootKind = "image"          // the image Name
	RootRef           RootKind = "ref"            // the kept result Name
)

// Root says where a file tree comes from: the root of a sandbox, or what a
// mount shows. The zero Root says that none was named.
type Root struct {
	Kind RootKind `json:"kind"`
	// Path is a host path exactly as typed, maybe relative to the caller's
	// working directory.
	Path string `json:"path,omitempty"`
	// Tag selects one image of an OCI layout; "" when it has only one.
	Tag string `json:"tag,omitempty"`
	// Name is an image reference or the name of a result.
	Name string `json:"name,omitempty"`
}

// Stdin reports whether r is read from the caller's standard input.
func (r Root) Stdin() bool { return r.Kind == RootTar && r.Path == "-" }

// String returns r as the command line spells it; the zero Root is "".
func (r Root) String() string {
	switch r.Kind {
	case RootDir, RootDockerArchive:
		return string(r.Kind) + ":" + r.Path
	case RootTar:
		if r.Stdin() {
			return "-"
		}
		return "tar:" + r.Path
	case RootOCI:
		if r.Tag != "" {
			return "oci:" + r.Path + ":" + r.Tag
		}
		return "oci:" + r.Path
	case RootImage, RootRef:
		return string(r.Kind) + ":" + r.Name
	default:
		return string(r.Kind)
	}
}
