/* What mmap, mremap, madvise, mlock and their kin check, and what becomes of mappings. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "show.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#define MADV_KEEPONFORK 19
#endif

enum { PAGE = 4096 };

static char *map(size_t pages, int flags, int file)
{
	return mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, flags, file, 0);
}

static long mapped(void *at)
{
	return at == MAP_FAILED ? -1 : 0;
}

static void checks(int file)
{
	int only = open("file", O_WRONLY), folder = open(".", O_RDONLY), ends[2];

	pipe(ends);
	SHOW(mapped(mmap(NULL, 0, PROT_READ, MAP_PRIVATE, file, 0)));
	SHOW(mapped(mmap(NULL, 0, PROT_READ, MAP_PRIVATE, 1000, 0)));
	SHOW(mapped(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 1000, 0)));
	SHOW(mapped(mmap(NULL, PAGE, PROT_READ, 0, file, 0)));
	SHOW(mapped(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, only, 0)));
	SHOW(mapped(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, folder, 0)));
	SHOW(mapped(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, ends[0], 0)));
	SHOW(mapped(mmap((void *)4097, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0)));
	SHOW(mapped((void *)syscall(SYS_mmap, 0, PAGE, PROT_READ, MAP_PRIVATE, file, 1)));
	SHOW(mapped(mmap(NULL, PAGE, PROT_READ, 3 | 0x200, file, 0)));
	SHOW(mapped(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | 0x200, file, 0)));
	SHOW(mapped(mmap(NULL, (size_t)-1, PROT_READ, MAP_PRIVATE, file, 0)));
	close(only);
	close(folder);
	close(ends[0]);
	close(ends[1]);
	char *two = map(2, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	SHOW(mprotect(two + 1, 1, PROT_READ));
	SHOW(mprotect(two, PAGE, 0x40));
	SHOW(mprotect(two, 0, PROT_READ));
	SHOW(munmap(two + 1, 1));
	SHOW(munmap(two, 0));
	SHOW(munmap(two, PAGE));
	SHOW(munmap(two, PAGE));
	SHOW(mprotect(two, 2 * PAGE, PROT_READ));
	SHOW(mlock(two, 2 * PAGE));
	SHOW(munlock(two, 2 * PAGE));
	SHOW(msync(two, 2 * PAGE, MS_ASYNC));
	SHOW(madvise(two, 2 * PAGE, MADV_NORMAL));
	SHOW(munmap(two + PAGE, PAGE));
}

static void moves(int file)
{
	char *two = map(2, MAP_SHARED, file), *moved;

	strcpy(two, "first");
	SHOW(mapped(moved = mremap(two, 0, PAGE, MREMAP_MAYMOVE)));
	SHOW_IS(moved != two && !strcmp(moved, "first"));
	strcpy(moved, "other");
	SHOW_IS(!strcmp(two, "other"));
	SHOW(mapped(mremap(two, 0, PAGE, 0)));
	SHOW(mapped(mremap(two, PAGE, 0, 0)));
	SHOW(mapped(mremap(two + 1, PAGE, PAGE, 0)));
	SHOW(mapped(mremap(two, 2 * PAGE, PAGE, 0x40)));
	SHOW(mapped(mremap(two, 2 * PAGE, PAGE, MREMAP_FIXED, moved)));
	SHOW(mapped(mremap(two, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, two)));
	SHOW(mapped(mremap(two, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, two + 1)));
	SHOW_IS(mremap(two, 2 * PAGE, PAGE, 0) == two);
	SHOW_IS(mremap(two, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, moved) == moved);
	SHOW_IS(!strcmp(moved, "other"));
	SHOW(mapped(mremap(two, PAGE, PAGE, MREMAP_MAYMOVE)));
	SHOW(munmap(moved, PAGE));
	moved = map(1, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	SHOW(mapped(mremap(moved, 0, PAGE, MREMAP_MAYMOVE)));
	/* Two mappings are no one. */
	two = map(2, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	mprotect(two, PAGE, PROT_READ);
	SHOW(mapped(mremap(two, 2 * PAGE, 3 * PAGE, MREMAP_MAYMOVE)));
	SHOW_IS(mremap(two, 2 * PAGE, PAGE, 0) == two);
}

static int child_of(char *page)
{
	int status;

	if (fork() == 0)
		_exit(page[0]);
	wait(&status);
	return status;
}

static void advice(int file)
{
	char *page = map(1, MAP_PRIVATE | MAP_ANONYMOUS, -1), *shared = map(2, MAP_SHARED, file);

	page[0] = 5;
	SHOW(child_of(page));
	SHOW(madvise(page, PAGE, MADV_WIPEONFORK));
	SHOW(child_of(page));
	SHOW(madvise(page, PAGE, MADV_KEEPONFORK));
	SHOW(child_of(page));
	SHOW(madvise(page, PAGE, MADV_DONTFORK));
	SHOW(child_of(page) & 0x7f);
	SHOW(madvise(page, PAGE, MADV_DOFORK));
	SHOW(child_of(page));
	SHOW(madvise(shared, PAGE, MADV_WIPEONFORK));
	SHOW(madvise(shared, PAGE, MADV_FREE));
	SHOW(madvise(page, PAGE, MADV_FREE));
	SHOW(madvise(page, PAGE, MADV_REMOVE));
	SHOW(madvise(page + 1, PAGE, MADV_NORMAL));
	SHOW(madvise(page, PAGE, 12345));
	SHOW(madvise(page, PAGE, MADV_DONTNEED));
	SHOW(page[0]);
	shared[0] = 'x';
	shared[PAGE] = 'y';
	SHOW(madvise(shared, PAGE, MADV_REMOVE));
	SHOW(shared[0]);
	SHOW(shared[PAGE]);
	munmap(page, PAGE);
	munmap(shared, 2 * PAGE);
}

static void locks(int file)
{
	char *page = map(2, MAP_PRIVATE | MAP_ANONYMOUS, -1), *shared = map(1, MAP_SHARED, file);

	page[0] = 1;
	SHOW(mlock(page + 100, 10));
	SHOW(madvise(page, PAGE, MADV_DONTNEED));
	SHOW(madvise(page + PAGE, PAGE, MADV_DONTNEED));
	SHOW(munlock(page, PAGE));
	SHOW(madvise(page, PAGE, MADV_DONTNEED));
	SHOW(mlock(shared, PAGE));
	SHOW(msync(shared, PAGE, MS_SYNC | MS_INVALIDATE));
	SHOW(munlock(shared, PAGE));
	SHOW(msync(shared, PAGE, MS_SYNC | MS_INVALIDATE));
	SHOW(msync(shared, PAGE, MS_SYNC | MS_ASYNC));
	SHOW(msync(shared + 1, PAGE, MS_SYNC));
	SHOW(mlockall(0));
	SHOW(mlockall(8));
	SHOW(munlockall());
	mprotect(page, PAGE, PROT_NONE);
	SHOW(mlock(page, PAGE));
	munmap(page, 2 * PAGE);
	munmap(shared, PAGE);
	if (fork() == 0) {
		struct rlimit limit = { PAGE, PAGE };

		page = map(2, MAP_PRIVATE | MAP_ANONYMOUS, -1);
		setrlimit(RLIMIT_MEMLOCK, &limit);
		SHOW(setuid(65534));
		SHOW(mlock(page, PAGE));
		SHOW(mlock(page + PAGE, PAGE));
		limit.rlim_cur = limit.rlim_max = 0;
		setrlimit(RLIMIT_MEMLOCK, &limit);
		SHOW(mlock(page, PAGE));
		_exit(0);
	}
	wait(NULL);
}

static void room(void)
{
	struct rlimit limit = { 64 << 20, RLIM_INFINITY };

	if (fork() == 0) {
		setrlimit(RLIMIT_AS, &limit);
		SHOW(mapped(map(32 << 10, MAP_PRIVATE | MAP_ANONYMOUS, -1)));
		SHOW(mapped(map(1, MAP_PRIVATE | MAP_ANONYMOUS, -1)));
		_exit(0);
	}
	wait(NULL);
}

static void segments(void)
{
	struct shmid_ds told;
	int number, other;
	char *at;

	SHOW_DONE(number = shmget(IPC_PRIVATE, 5000, IPC_CREAT | 0600));
	SHOW(shmget(12345, 100, 0600));
	SHOW_DONE(other = shmget(12345, 100, IPC_CREAT | 0600));
	SHOW_IS(shmget(12345, 100, 0600) == other);
	SHOW(shmget(12345, 100, IPC_CREAT | IPC_EXCL | 0600));
	SHOW(shmget(12345, 5000, 0600));
	SHOW(shmget(IPC_PRIVATE, 0, 0600));
	SHOW(mapped(at = shmat(number, NULL, 0)));
	at[0] = 1;
	if (fork() == 0) {
		at[0]++;
		_exit(0);
	}
	wait(NULL);
	SHOW(at[0]);
	SHOW(shmctl(number, IPC_STAT, &told));
	SHOW(told.shm_segsz);
	SHOW(told.shm_nattch);
	SHOW(shmctl(number, IPC_RMID, NULL));
	SHOW(at[0]);
	SHOW(shmdt(at));
	SHOW(shmdt(at));
	SHOW(mapped(shmat(number, NULL, 0)));
	SHOW(shmctl(other, IPC_RMID, NULL));
}

int main(void)
{
	int file = open("file", O_CREAT | O_RDWR, 0600);

	SHOW(ftruncate(file, 2 * PAGE));
	checks(file);
	moves(file);
	advice(file);
	locks(file);
	room();
	segments();
	return 0;
}
