// What the constructor's files share. All of it runs before the Go runtime, in
// the process the user started, as the user, with one thread.
#ifndef SANDBOX_INTERNAL_H
#define SANDBOX_INTERNAL_H

#include <stddef.h>

#include "enter.h"

#define E sandbox_entry

// What start_holder and have_ranges found.
enum holder_result {
	HOLDER_FAILED = -1, // message says why
	HOLDER_READY,
	HOLDER_NO_RANGES,   // this machine has no ranges for us: message says which part
	HOLDER_NO_CLONE,    // no user namespace can be made: errno
	HOLDER_NO_RIGHTS,   // one can be made, but it gives no rights: errno
};

// args.c
int sandbox_wanted(void);
long sandbox_idle_seconds(void);

// place.c
int sandbox_private_dir(int dir, const char *name, int make);
int sandbox_runtime_dir(void);

// ranges.c
int sandbox_have_ranges(void);

// join.c
int sandbox_join(int dir);
enum holder_result sandbox_start_holder(int dir, int off);

// enter.c
int sandbox_failed(int step);
int sandbox_read_file(const char *path, char *buf, size_t size);

#endif
