// What the constructor in enter.c leaves for Go to read. See entry.go.
#ifndef SANDBOX_ENTER_H
#define SANDBOX_ENTER_H

#include <limits.h>

enum sandbox_way { WAY_NONE, WAY_HOLDER, WAY_ROOT, WAY_NESTED, WAY_SINGLE, WAY_FAILED };

// Where entering stopped, with errno beside it.
enum sandbox_step {
	STEP_OK, STEP_PROC, STEP_PROC_OTHER, STEP_RUNTIME, STEP_LEASE, STEP_NO_RANGES, STEP_HOLDER, STEP_JOIN,
	STEP_UNSHARE_USER, STEP_MAP, STEP_RIGHTS, STEP_UNSHARE_MOUNT, STEP_NOT_ROOT, STEP_HOST_ROOT,
};

struct sandbox_entry {
	int way, step, err;
	int uid, gid;          // the caller's, before entering
	int lease_fd;          // held while we use the holder's namespace, or -1
	int lifeline_fd;       // --holder=off: our holder dies when this closes
	int holder_pid;
	int standalone;        // no place to remember: this run stands alone
	int alone_fd;          // standalone: the lock that says we live
	int broken;            // message says what fails that should work
	unsigned char inherited[128]; // bit N: --fd N names a descriptor that was open
	char userns[16];       // the value the constructor acted on
	char holder[32];
	char runtime[PATH_MAX]; // the runtime directory, below XDG_RUNTIME_DIR or in /tmp
	char message[1024];     // why there is no holder, when there is none
};

extern struct sandbox_entry sandbox_entry;

#endif
