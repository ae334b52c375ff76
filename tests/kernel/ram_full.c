/* Fills the files in memory: they end with ENOSPC while there is memory for the program, a store
   through a mapping with SIGBUS, and what is removed makes room again. Before
   that, private memory takes a frame a page, and loads of a hole that is larger than memory end,
   with what was stored among them. */
#include "common.h"
#include <sys/statvfs.h>

static sigjmp_buf back;

static void on_bus(int signal) { siglongjmp(back, signal); }

static long fill(int fd)
{
	static char bytes[65536];
	long done, all = 0;

	while ((done = write(fd, bytes, sizeof bytes)) > 0)
		all += done;
	told("the last write", done);
	return all;
}

/* Bytes of a hole that are loaded, one of each page: more than there is memory. */
#define LOADED (80L << 20)

static void load_hole(int sparse)
{
	long sum = 0;
	volatile unsigned char *map = mmap(0, LOADED, PROT_READ | PROT_WRITE, MAP_SHARED, sparse, 0);

	CHECK(map != MAP_FAILED);
	map[0] = 1;
	for (long at = 0; at < LOADED; at += PAGE)
		sum += map[at];
	map[PAGE] = 1;
	for (long at = 0; at < LOADED; at += 16 * PAGE)
		sum += map[at];
	printf("loads of a hole: %ld, a store among them: %d\n", sum, map[PAGE]);
	MUST(munmap((void *)map, LOADED));
}

/* Bytes of private memory: more than half of what there is. */
#define PRIVATE (40L << 20)

static void store_to_private(void)
{
	char *memory = mmap(0, PRIVATE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(memory != MAP_FAILED);
	for (long at = 0; at < PRIVATE; at += PAGE)
		memory[at] = 1;
	MUST(munmap(memory, PRIVATE));
}

int main(void)
{
	struct statvfs before, after;
	int sparse = MUST(open("sparse", O_RDWR | O_CREAT, 0600));
	int fd = MUST(open("/dev/shm/full", O_RDWR | O_CREAT, 0600));

	MUST(ftruncate(sparse, 1L << 40));
	store_to_private();
	load_hole(sparse);
	MUST(fallocate(sparse, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, LOADED));
	MUST(statvfs("/", &before));
	long all = fill(fd);
	MUST(statvfs("/", &after));
	printf("all that was free: %d, and no more: %d\n", all == (long)(before.f_bfree * before.f_bsize),
	       after.f_bfree == 0);
	char *map = mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, sparse, 1L << 30);
	CHECK(map != MAP_FAILED);
	signal(SIGBUS, on_bus);
	int caught = sigsetjmp(back, 1);
	if (caught == 0)
		map[0] = 1;
	printf("a store to a hole: %s\n", caught == SIGBUS ? "SIGBUS" : "done");
	char *memory = mmap(0, 1024 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED);
	memset(memory, 1, 1024 * PAGE);
	MUST(ftruncate(fd, 0));
	map[0] = 1;
	MUST(unlink("sparse"));
	MUST(unlink("/dev/shm/full"));
	MUST(munmap(map, PAGE));
	MUST(close(sparse));
	MUST(close(fd));
	MUST(statvfs("/", &after));
	printf("free again: %d\n", after.f_bfree == before.f_bfree);
	return 0;
}
