/*
 * census DIR...: reads every regular file below the folders, in the byte order
 * of the paths, and prints how many files, bytes and lines there are and one
 * FNV-1a hash of all paths and contents. census/census.go computes the same line.
 */
#define _XOPEN_SOURCE 700
#include <ftw.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char **paths;
static size_t count, room;
static uint64_t hash = 0xcbf29ce484222325u, bytes, lines;

static void mix(const char *data, size_t n)
{
	for (size_t i = 0; i < n; i++)
		hash = (hash ^ (unsigned char)data[i]) * 0x100000001b3u;
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)ftw;
	if (type == FTW_DNR || type == FTW_NS) {
		fprintf(stderr, "census: cannot read %s\n", path);
		return 1;
	}
	if (type != FTW_F || !S_ISREG(st->st_mode))
		return 0;
	if (count == room) {
		room = room ? 2 * room : 64;
		paths = realloc(paths, room * sizeof *paths);
	}
	if (!paths || !(paths[count++] = strdup(path)))
		return 1;
	return 0;
}

static int order(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int main(int argc, char **argv)
{
	static char buffer[65536];
	size_t n;

	for (int i = 1; i < argc; i++)
		if (nftw(argv[i], visit, 32, FTW_PHYS))
			return 1;
	qsort(paths, count, sizeof *paths, order);
	for (size_t i = 0; i < count; i++) {
		FILE *f = fopen(paths[i], "rb");

		if (!f) {
			perror(paths[i]);
			return 1;
		}
		mix(paths[i], strlen(paths[i]) + 1);
		while ((n = fread(buffer, 1, sizeof buffer, f)) > 0) {
			mix(buffer, n);
			bytes += n;
			for (size_t k = 0; k < n; k++)
				lines += buffer[k] == '\n';
		}
		if (ferror(f)) {
			perror(paths[i]);
			return 1;
		}
		fclose(f);
	}
	printf("%zu files, %" PRIu64 " bytes, %" PRIu64 " lines, hash %016" PRIx64 "\n",
	       count, bytes, lines, hash);
	return 0;
}
