// Package image is where a root comes from.
//
// [Unpack] turns a tar archive, plain or compressed with gzip, zstd or xz, into
// the contents of a directory; [RemoveContents] is its opposite. Archives are
// hostile: they come from a build step, a download or an unknown registry.
// Whatever one holds, nothing outside of the directory is read, linked to,
// created or changed, no device appears, and time, memory and disk stay within
// [Limits]. An archive that is refused leaves nothing behind.
//
// # Names
//
// An entry's name is relative to the new root, with or without leading slashes;
// "." parts and doubled slashes are dropped. A name with a ".." part, an empty
// one, or one over the limits is an error. The directories on the way to an
// entry are looked up as a process would see them that has the new root as its
// "/": a symlink that an earlier entry made is followed, an absolute one from
// the new root, and ".." stops at it. Archives depend on that (/bin -> usr/bin,
// then bin/ls), and the kernel keeps the walk inside (RESOLVE_IN_ROOT). The last
// part of a name is never followed.
//
// A later entry wins over an earlier one of the same name, whatever the types,
// except that a directory which is not empty is only ever replaced by a
// directory, which keeps its contents. Missing directories are made, 0755.
// Names that layers give a meaning (".wh.x", ".wh..wh..opq") have none here: a
// tar archive is a whole root, and such an entry is an ordinary file.
//
// # What is made
//
// Regular files, directories, symlinks, hard links and FIFOs, with mode, owner,
// modification time and the user.* extended attributes. Blocks of zeros become
// holes. Devices and entries of unknown type are skipped and named in [Stats].
// A hard link must name something that the archive has made before; a hard link
// to a symlink links the symlink itself. Global pax headers are not applied.
//
// # Rights
//
// Unpack is meant to run as user 0 of a user namespace, or as root. Without
// privileges it works where the archive's own directory modes allow it: ids are
// then not applied (see [Stats]), and an entry below a directory without search
// permission is an error.
package image
