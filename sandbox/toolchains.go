package sandbox

// toolchains are the parts of a real home that the host root shows, read-only,
// in the private one: what a build needs to find its compilers. Caches and
// anything that may hold a credential are not among them.
var toolchains = [...]string{
	".local/bin", ".local/lib",
	".cargo/bin", ".rustup",
	".nvm", ".pyenv", ".rbenv", ".sdkman",
	"go",
}

// Toolchains returns the directories of a home that the host root shows.
func Toolchains() []string { return append([]string(nil), toolchains[:]...) }
