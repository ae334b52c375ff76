/* Memory: mappings, their changes, what is resident. */
#include "show.h"
#include <fcntl.h>
#include <signal.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096L

static sigjmp_buf back;

static void leave(int signal)
{
	siglongjmp(back, signal);
}

/* The signal of a load, or of a store; 0 for none. */
static int load(volatile char *at)
{
	int signal = sigsetjmp(back, 1);

	if (signal == 0)
		(void)*at;
	return signal;
}

static int store(volatile char *at)
{
	int signal = sigsetjmp(back, 1);

	if (signal == 0)
		*at = 1;
	return signal;
}

static char *map(long pages, int rights, int flags)
{
	return mmap(NULL, pages * PAGE, rights, flags | MAP_ANONYMOUS, -1, 0);
}

int main(void)
{
	char *at, *to;
	unsigned char resident[8];
	int file = open("/tmp", O_TMPFILE | O_RDWR, 0600);

	signal(SIGSEGV, leave);
	signal(SIGBUS, leave);
	puts("# errors");
	SHOW_DONE(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	SHOW_DONE(mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0));
	SHOW_DONE(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 99, 0));
	SHOW_DONE(mmap(NULL, 1L << 47, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	SHOW_DONE(mmap(NULL, -1, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	SHOW_DONE(mmap((void *)0x123, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	SHOW_DONE(mmap((void *)0xffff800000000000, PAGE, PROT_READ,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	SHOW(munmap((void *)0x123, PAGE));
	SHOW(munmap((void *)PAGE, 0));
	SHOW(munmap((void *)0xffff800000000000, PAGE));
	SHOW(munmap((void *)PAGE, PAGE));

	puts("# rights");
	at = map(4, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	SHOW(load(at));
	SHOW(store(at + PAGE));
	SHOW(mprotect(at + PAGE, PAGE, PROT_READ));
	SHOW(store(at + PAGE));
	SHOW(load(at + PAGE));
	SHOW(mprotect(at + PAGE, PAGE, PROT_NONE));
	SHOW(load(at + PAGE));
	SHOW(mprotect(at + PAGE, PAGE, PROT_READ | PROT_WRITE));
	SHOW(at[PAGE]);
	SHOW(mprotect(at + 1, PAGE, PROT_READ));
	SHOW(munmap(at + 2 * PAGE, PAGE));
	SHOW(load(at + 2 * PAGE));
	SHOW(load(at + 3 * PAGE));
	SHOW(mprotect(at, 4 * PAGE, PROT_READ));
	SHOW(madvise(at, 4 * PAGE, MADV_NORMAL));
	SHOW(madvise(at, PAGE, 9999));
	munmap(at, 4 * PAGE);

	puts("# residency");
	at = map(4, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	SHOW(store(at + PAGE));
	SHOW(mincore(at, 4 * PAGE, resident));
	SHOW(resident[1] & 1);
	SHOW(madvise(at, 4 * PAGE, MADV_DONTNEED));
	SHOW(at[PAGE]);
	SHOW(mlock(at, 4 * PAGE));
	SHOW(mincore(at, 4 * PAGE, resident));
	SHOW(resident[3] & 1);
	SHOW(munlock(at, 4 * PAGE));
	SHOW(mincore(at + 1, PAGE, resident));
	munmap(at, 4 * PAGE);
	SHOW(mincore(at, PAGE, resident));
	SHOW(mlock(at, PAGE));
	at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	mincore(at, PAGE, resident);
	SHOW(resident[0] & 1);
	munmap(at, PAGE);

	puts("# moves");
	at = map(8, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	munmap(at + 4 * PAGE, 4 * PAGE);
	at[0] = 5;
	at[3 * PAGE] = 6;
	SHOW_IS(mremap(at, 4 * PAGE, 6 * PAGE, 0) == at);
	SHOW(at[5 * PAGE]);
	SHOW_IS(mremap(at, 6 * PAGE, 2 * PAGE, 0) == at);
	SHOW(load(at + 2 * PAGE));
	to = map(4, PROT_NONE, MAP_PRIVATE);
	SHOW_IS(mremap(at, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	SHOW(to[0]);
	SHOW(load(at));
	SHOW_DONE(mremap(at, PAGE, 2 * PAGE, MREMAP_MAYMOVE));
	SHOW_DONE(mremap(to, PAGE, 0, MREMAP_MAYMOVE));
	SHOW_DONE(mremap(to + 1, PAGE, PAGE, MREMAP_MAYMOVE));
	munmap(to, 4 * PAGE);

	puts("# files");
	ftruncate(file, PAGE + 100);
	at = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	to = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	at[0] = 7;
	SHOW(to[0]);
	to[0] = 8;
	SHOW(at[0]);
	SHOW(load(at + PAGE));
	SHOW(load(at + 2 * PAGE));
	ftruncate(file, 100);
	SHOW(load(at + PAGE));
	SHOW(to[0]);
	SHOW(msync(at, 4 * PAGE, MS_SYNC));
	SHOW(msync(at, PAGE, MS_SYNC | MS_ASYNC));
	SHOW(msync(at + 1, PAGE, MS_SYNC));
	munmap(at, 4 * PAGE);
	SHOW(msync(at, PAGE, MS_SYNC));
	munmap(to, 4 * PAGE);
	close(file);

	puts("# fork");
	at = map(1, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	to = map(1, PROT_READ | PROT_WRITE, MAP_SHARED);
	at[0] = to[0] = 1;
	pid_t child = fork();
	if (child == 0) {
		at[0] = to[0] = 2;
		_exit(0);
	}
	waitpid(child, NULL, 0);
	SHOW(at[0]);
	SHOW(to[0]);

	puts("# break");
	char *end = sbrk(0);
	SHOW_IS(sbrk(10 * PAGE) != (void *)-1 || errno == ENOMEM);
	SHOW_IS((char *)sbrk(0) - end == 10 * PAGE || (char *)sbrk(0) == end);
	return 0;
}
