/* madvise, mremap, mlock2, remap_file_pages, process_vm_readv: what they check, and what is left. */
#include "show.h"
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef FALLOC_FL_PUNCH_HOLE
#define FALLOC_FL_KEEP_SIZE 1
#define FALLOC_FL_PUNCH_HOLE 2
#endif
#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 3
#endif
#ifndef MADV_COLD
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#define DONTNEED_LOCKED 24
enum { PAGE = 4096 };

static char *map(size_t pages, int prot, int flags, int file)
{
	return mmap(NULL, pages * PAGE, prot, flags, file, 0);
}
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static sigjmp_buf back;
static void caught(int number) { siglongjmp(back, number); }

/* The signal that a load or a store ends with, or 0. */
static int load(volatile char *at)
{
	int number = sigsetjmp(back, 1);
	if (number == 0)
		(void)*at;
	return number;
}
static int store(volatile char *at)
{
	int number = sigsetjmp(back, 1);
	if (number == 0)
		*at = 'q';
	return number;
}
static int resident(char *at, int pages)
{
	unsigned char in[64];
	int sum = 0;
	if (mincore(at, pages * PAGE, in))
		return -1;
	for (int i = 0; i < pages; i++)
		sum += in[i] & 1;
	return sum;
}
static long mapped(void *at) { return at == MAP_FAILED ? -1 : 0; }

static void populate(int file)
{
	int only = open("file", O_RDONLY);
	char *anon = map(4, RW, ANON, -1), *ro = map(4, PROT_READ, ANON, -1), *none = map(4, PROT_NONE, ANON, -1);
	char *shared = map(4, RW, MAP_SHARED, file), *private = map(4, RW, MAP_PRIVATE, file), *sro = map(4, PROT_READ, MAP_SHARED, only);

	puts("# populate");
	SHOW(madvise(anon, 4 * PAGE, MADV_POPULATE_READ));
	SHOW(resident(anon, 4));
	SHOW(madvise(anon, 4 * PAGE, MADV_POPULATE_WRITE));
	SHOW(resident(anon, 4));
	SHOW(madvise(ro, 4 * PAGE, MADV_POPULATE_READ));
	SHOW(madvise(ro, 4 * PAGE, MADV_POPULATE_WRITE));
	SHOW(madvise(none, 4 * PAGE, MADV_POPULATE_READ));
	SHOW(madvise(none, 4 * PAGE, MADV_POPULATE_WRITE));
	SHOW(madvise(shared, 4 * PAGE, MADV_POPULATE_READ));
	SHOW(madvise(shared, 4 * PAGE, MADV_POPULATE_WRITE));
	SHOW(madvise(private, 4 * PAGE, MADV_POPULATE_WRITE));
	SHOW(madvise(sro, 4 * PAGE, MADV_POPULATE_READ));
	SHOW(madvise(sro, 4 * PAGE, MADV_POPULATE_WRITE));
	SHOW(madvise(anon + 1, PAGE, MADV_POPULATE_READ));
	SHOW(madvise(anon, 0, MADV_POPULATE_READ));
	munmap(anon + PAGE, PAGE);
	SHOW(madvise(anon, 4 * PAGE, MADV_POPULATE_READ));
	SHOW(madvise(anon, 4 * PAGE, MADV_POPULATE_WRITE));
	char *past = map(8, RW, MAP_SHARED, file);
	SHOW(madvise(past, 8 * PAGE, MADV_POPULATE_READ));
	SHOW(madvise(past, 8 * PAGE, MADV_POPULATE_WRITE));
	char *here = mmap(NULL, 8 * PAGE, RW, MAP_SHARED | MAP_POPULATE, file, 0);
	SHOW(mapped(here));
	SHOW(mlock(here, 8 * PAGE));
	SHOW(munlock(here, 8 * PAGE));
	SHOW(mlock(none, PAGE));
	SHOW(munlock(none, PAGE));
	close(only);
}

static void advice(int file)
{
	char *anon = map(4, RW, ANON, -1), *shared = map(4, RW, MAP_SHARED, file), *ro = map(4, PROT_READ, MAP_SHARED, file);

	puts("# advice");
	strcpy(anon, "text");
	strcpy(anon + PAGE, "more");
	SHOW(madvise(anon, PAGE, MADV_FREE));
	/* What is stored after the advice stays. */
	strcpy(anon, "kept");
	SHOW_IS(!strcmp(anon, "kept"));
	SHOW(madvise(anon, 2 * PAGE, MADV_COLD));
	SHOW(madvise(anon, 2 * PAGE, MADV_PAGEOUT));
	SHOW_IS(!strcmp(anon + PAGE, "more"));
	SHOW(madvise(shared, PAGE, MADV_COLD));
	SHOW(madvise(shared, PAGE, MADV_PAGEOUT));
	SHOW(madvise(shared, PAGE, MADV_FREE));
	SHOW(mlock(anon, PAGE));
	SHOW(madvise(anon, PAGE, MADV_COLD));
	SHOW(madvise(anon, PAGE, MADV_PAGEOUT));
	SHOW(madvise(anon, PAGE, MADV_FREE));
	SHOW(madvise(anon, PAGE, MADV_DONTNEED));
	SHOW_IS(!strcmp(anon, "kept"));
	SHOW(madvise(anon, 2 * PAGE, DONTNEED_LOCKED));
	SHOW(anon[0]);
	SHOW(anon[PAGE]);
	SHOW(munlock(anon, PAGE));
	strcpy(shared, "file");
	SHOW(madvise(shared, PAGE, MADV_DONTNEED));
	SHOW_IS(!strcmp(shared, "file"));
	SHOW(madvise(ro, PAGE, MADV_REMOVE));
	SHOW(madvise(anon, PAGE, MADV_REMOVE));
	SHOW(madvise(anon, -PAGE, MADV_DONTNEED));
	SHOW(madvise(anon, 0, MADV_DONTNEED));
	SHOW(madvise(anon, 0, 999));
	SHOW(madvise(anon, PAGE, 999));
	SHOW(madvise(anon + 8, PAGE, MADV_DONTNEED));
	SHOW(madvise(anon, 1, MADV_DONTNEED));
	SHOW(madvise(shared, PAGE, MADV_DONTFORK));
	SHOW(madvise(shared, PAGE, MADV_DOFORK));
	SHOW(madvise(shared, PAGE, MADV_WILLNEED));
	SHOW(madvise(anon, PAGE, MADV_WILLNEED));
	SHOW(madvise(shared, PAGE, MADV_RANDOM));
	SHOW(madvise(shared, PAGE, MADV_SEQUENTIAL));
	SHOW(madvise(anon, PAGE, MADV_DODUMP));
	SHOW(madvise(anon, PAGE, MADV_DONTDUMP));
	SHOW(madvise(anon, PAGE, 25));
	char *three = map(3, RW, ANON, -1);
	memset(three, 'x', 3 * PAGE);
	munmap(three + PAGE, PAGE);
	SHOW(madvise(three, 3 * PAGE, MADV_DONTNEED));
	SHOW(three[0]);
	SHOW(three[2 * PAGE]);
	SHOW(madvise(three, 3 * PAGE, MADV_WILLNEED));
	SHOW(madvise(three, 3 * PAGE, MADV_FREE));
	SHOW(mprotect(three, 3 * PAGE, PROT_READ));
	SHOW(store(three));
	SHOW(store(three + 2 * PAGE));
	SHOW(munlock(three, 3 * PAGE));
}

static void moves(int file)
{
	char *one = map(2, RW, ANON, -1), *two, *shared = map(2, RW, MAP_SHARED, file);

	puts("# moves");
	strcpy(one, "first");
	strcpy(one + PAGE, "second");
	SHOW(mapped(two = mremap(one, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL)));
	if (two != MAP_FAILED) {
		SHOW_IS(two != one && !strcmp(two, "first") && !strcmp(two + PAGE, "second"));
		SHOW(one[0]);
		SHOW(one[PAGE]);
		strcpy(one, "new");
		SHOW_IS(!strcmp(two, "first"));
	}
	SHOW(mapped(mremap(one, 2 * PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL)));
	SHOW(mapped(mremap(one, PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL)));
	SHOW(mapped(mremap(one, PAGE, PAGE, MREMAP_DONTUNMAP, NULL)));
	char *to = map(2, PROT_NONE, ANON, -1);
	SHOW_IS(mremap(one, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP | MREMAP_FIXED, to) == to);
	SHOW_IS(!strcmp(to, "new"));
	SHOW(one[0]);
	strcpy(shared, "file");
	SHOW(mapped(two = mremap(shared, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL)));
	if (two != MAP_FAILED) {
		SHOW_IS(!strcmp(two, "file"));
		SHOW_IS(!strcmp(shared, "file"));
	}
	SHOW(mapped(mremap(one, PAGE, (size_t)1 << 62, MREMAP_MAYMOVE)));
	SHOW(mapped(mremap(one, PAGE, PAGE, 8)));
	SHOW(mapped(mremap((char *)0x7f0000000000 - 5 * PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE)));
	/* Growing in place, and not. */
	char *three = map(3, RW, ANON, -1);
	three[0] = 'g';
	munmap(three + PAGE, 2 * PAGE);
	SHOW_IS(mremap(three, PAGE, 2 * PAGE, 0) == three);
	SHOW(three[PAGE]);
	three = map(3, RW, ANON, -1);
	three[0] = 'h';
	mprotect(three + PAGE, PAGE, PROT_READ);
	SHOW(mapped(mremap(three, PAGE, 2 * PAGE, 0)));
	char *moved = mremap(three, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
	SHOW_IS(moved != MAP_FAILED && moved != three && moved[0] == 'h');
	SHOW(load(three));
	/* A file that is shorter than its mapping. */
	char *past = mremap(shared, 2 * PAGE, 8 * PAGE, MREMAP_MAYMOVE);
	SHOW(mapped(past));
	SHOW(load(past + 7 * PAGE));
	/* A mapping that is locked stays so. */
	char *locked = map(1, RW, ANON, -1);
	mlock(locked, PAGE);
	char *again = mremap(locked, PAGE, 3 * PAGE, MREMAP_MAYMOVE);
	SHOW(madvise(again, 3 * PAGE, MADV_DONTNEED));
	SHOW(resident(again, 3));
	munlock(again, 3 * PAGE);
	/* Three ranges of several mappings. */
	char *six = map(6, RW, ANON, -1);
	mprotect(six + 2 * PAGE, PAGE, PROT_READ);
	SHOW(mapped(mremap(six, 6 * PAGE, 6 * PAGE, 0)));
	SHOW(mapped(mremap(six, 6 * PAGE, 2 * PAGE, 0)));
	SHOW(load(six + 3 * PAGE));
}

static void locks(void)
{
	char *page = map(4, RW, ANON, -1);

	puts("# locks");
	SHOW(syscall(SYS_mlock2, page, 4 * PAGE, 1));
	SHOW(resident(page, 4));
	page[0] = 1;
	SHOW(resident(page, 4));
	SHOW(syscall(SYS_mlock2, page, 4 * PAGE, 2));
	SHOW(syscall(SYS_mlock2, page, 4 * PAGE, 0));
	SHOW(resident(page, 4));
	SHOW(munlock(page, 4 * PAGE));
	SHOW(mlock(page, 0));
	SHOW(mlock((void *)-PAGE, 2 * PAGE));
	SHOW(mlock(page, -1));
	SHOW(munlock(page, -1));
	SHOW(mlock((void *)0x1000, PAGE));
	SHOW(munlock((void *)0x1000, PAGE));
	SHOW(mlockall(0));
	SHOW(mlockall(4));
	SHOW(mlockall(8 | 1));
	SHOW(mlockall(MCL_FUTURE));
	char *new = map(3, RW, ANON, -1);
	SHOW(resident(new, 3));
	SHOW(munlockall());
	SHOW(mlockall(MCL_FUTURE | 4));
	new = map(3, RW, ANON, -1);
	SHOW(resident(new, 3));
	SHOW(munlockall());
}

static void checks(int file)
{
	puts("# checks");
	SHOW(mapped(mmap(NULL, PAGE, RW, MAP_SHARED_VALIDATE | 0x80000 /* MAP_SYNC */, file, 0)));
	SHOW(mapped(mmap(NULL, PAGE, RW, MAP_SHARED_VALIDATE, file, 0)));
	SHOW(mapped(mmap(NULL, PAGE, RW, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, -1, 0)));
	SHOW(mapped(mmap(NULL, PAGE, RW, 4, file, 0)));
	SHOW(mapped(mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_SHARED | 4, file, 0)));
	SHOW(mapped(mmap(NULL, PAGE, RW | 0x100, MAP_PRIVATE, file, 0)));
	char *at = map(2, RW, ANON, -1);
	SHOW(mapped(mmap(at, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0)));
	SHOW(mapped(mmap(at + 1, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0)));
	SHOW(mapped(mmap((void *)((uintptr_t)1 << 62), PAGE, RW, ANON | MAP_FIXED, -1, 0)));
	SHOW(mapped(mmap((void *)((uintptr_t)1 << 62), PAGE, RW, ANON, -1, 0)));
	SHOW(mapped((void *)syscall(SYS_mmap, 0, PAGE, RW, MAP_SHARED, file, (1ull << 63) - PAGE)));
	SHOW(mapped((void *)syscall(SYS_mmap, 0, 2 * PAGE, RW, MAP_SHARED, file, -(long)PAGE)));
	SHOW(mapped(mmap(NULL, PAGE, PROT_NONE, MAP_SHARED, file, 0)));
	SHOW(mprotect(at, PAGE, RW | PROT_EXEC));
	SHOW(mprotect(at, -1, RW));
	SHOW(mprotect(at, (size_t)-PAGE, RW));
	SHOW(munmap(at, -1));
	SHOW(munmap((void *)-PAGE, PAGE));
	SHOW(msync(at, PAGE, MS_SYNC));
	SHOW(msync(at, PAGE, 0));
	SHOW(msync(at, PAGE, 8));
	SHOW(msync(at, 0, MS_SYNC));
	SHOW(msync(at + 1, PAGE, MS_SYNC));
	SHOW(msync(at, -PAGE, MS_SYNC));
	SHOW(msync(at, 1ul << 62, MS_SYNC));
	unsigned char in[4];
	SHOW(mincore(at, 2 * PAGE, in));
	SHOW(mincore(at + 1, PAGE, in));
	SHOW(mincore(at, 0, NULL));
	SHOW(mincore(at, -1, in));
	SHOW(mincore(at, 1ul << 62, in));
	munmap(at + PAGE, PAGE);
	SHOW(mincore(at, 2 * PAGE, in));
	/* remap_file_pages: two pages of a shared mapping change places. */
	char *shared = map(4, RW, MAP_SHARED, file);
	for (int i = 0; i < 4; i++)
		shared[i * PAGE] = 'a' + i;
	SHOW(syscall(SYS_remap_file_pages, shared, PAGE, 0, 2, 0));
	SHOW(shared[0]);
	SHOW(syscall(SYS_remap_file_pages, shared + 2 * PAGE, PAGE, 0, 0, 0));
	SHOW(shared[2 * PAGE]);
	shared[0] = 'z';
	char byte;
	SHOW(pread(file, &byte, 1, 2 * PAGE));
	SHOW(byte);
	SHOW(syscall(SYS_remap_file_pages, shared, PAGE, PROT_READ, 2, 0));
	SHOW(syscall(SYS_remap_file_pages, at, PAGE, 0, 2, 0));
	SHOW(syscall(SYS_remap_file_pages, shared, 0, 0, 2, 0));
	SHOW(syscall(SYS_remap_file_pages, (char *)0x1000, PAGE, 0, 2, 0));
	SHOW(syscall(SYS_remap_file_pages, shared, PAGE, 0, -1L, 0));
}

static void others(void)
{
	char *mine = map(2, RW, ANON, -1), *theirs = map(2, RW, ANON, -1);
	int ends[2], done[2];
	char byte;

	puts("# others");
	pipe(ends);
	pipe(done);
	strcpy(theirs, "hello");
	pid_t child = fork();
	if (child == 0) {
		strcpy(theirs, "child");
		munmap(theirs + PAGE, PAGE);
		write(ends[1], "x", 1);
		read(done[0], &byte, 1);
		printf("child has %s\n", theirs);
		_exit(0);
	}
	read(ends[0], &byte, 1);
	struct iovec local[2] = {{mine, 3}, {mine + 3, 3}}, remote[1] = {{theirs, 6}};
	SHOW(process_vm_readv(child, local, 2, remote, 1, 0));
	SHOW_IS(!strcmp(mine, "child"));
	strcpy(mine, "given");
	SHOW(process_vm_writev(child, local, 2, remote, 1, 0));
	SHOW(process_vm_readv(child, local, 2, remote, 1, 1));
	SHOW(process_vm_readv(-1, local, 2, remote, 1, 0));
	SHOW(process_vm_readv(child, local, -1, remote, 1, 0));
	SHOW(process_vm_readv(child, local, 1025, remote, 1, 0));
	SHOW(process_vm_readv(child, NULL, 1, remote, 1, 0));
	SHOW(process_vm_readv(child, local, 1, NULL, 1, 0));
	SHOW(process_vm_readv(child, local, 0, remote, 1, 0));
	SHOW(process_vm_readv(child, local, 1, remote, 0, 0));
	struct iovec all = {mine, 2 * PAGE}, far = {theirs, 2 * PAGE}, bad = {theirs + PAGE, 10}, neg = {mine, -1};
	SHOW(process_vm_readv(child, &all, 1, &far, 1, 0));
	SHOW(process_vm_readv(child, &all, 1, &bad, 1, 0));
	SHOW(process_vm_readv(child, &neg, 1, &far, 1, 0));
	SHOW(process_vm_readv(getpid(), &all, 1, &far, 1, 0));
	struct iovec to_bad = {(void *)0x1000, 10};
	SHOW(process_vm_readv(child, &to_bad, 1, &far, 1, 0));
	SHOW(process_vm_writev(child, &to_bad, 1, &far, 1, 0));
	write(done[1], "x", 1);
	waitpid(child, NULL, 0);
	SHOW(process_vm_readv(child, local, 2, remote, 1, 0));
}

static void files(void)
{
	int file = open("cut", O_CREAT | O_RDWR | O_TRUNC, 0600), only = open("cut", O_RDONLY);
	char *shared, *private, byte;

	puts("# files");
	ftruncate(file, 3 * PAGE);
	shared = map(3, RW, MAP_SHARED, file);
	private = map(3, RW, MAP_PRIVATE, file);
	shared[0] = 'a';
	private[PAGE] = 'p';
	SHOW(private[0]);
	SHOW(ftruncate(file, PAGE));
	SHOW(load(shared + PAGE));
	SHOW(load(private + PAGE));
	SHOW(store(private + 2 * PAGE));
	SHOW(store(shared));
	SHOW(ftruncate(file, 3 * PAGE));
	SHOW(private[PAGE]);
	SHOW(shared[PAGE]);
	SHOW(mprotect(shared, PAGE, PROT_READ));
	SHOW(store(shared));
	SHOW(load(shared));
	SHOW(mprotect(shared, PAGE, PROT_NONE));
	SHOW(load(shared));
	SHOW(read(file, shared, 1));
	SHOW(write(file, shared, 1));
	char *ro = map(1, PROT_READ, MAP_SHARED, only);
	SHOW(mprotect(ro, PAGE, RW));
	SHOW(mapped(map(1, RW, MAP_SHARED, only)));
	SHOW(mapped(map(1, RW, MAP_PRIVATE, only)));
	close(only);
	SHOW(close(file));
	SHOW(load(shared + PAGE));
	shared[PAGE + 5] = 'c';
	file = open("cut", O_RDWR);
	SHOW(pread(file, &byte, 1, PAGE + 5));
	SHOW(byte);
	SHOW(unlink("cut"));
	SHOW(load(shared + PAGE));
	/* More than the file. */
	char *more = map(4, RW, MAP_SHARED, file);
	SHOW(load(more + 2 * PAGE));
	SHOW(write(1, more + 2 * PAGE, 1));
	SHOW(pwrite(file, more + 2 * PAGE, 1, 0));
	SHOW(pread(file, more + 2 * PAGE, 1, 0));
	SHOW(pread(file, more + PAGE, 2 * PAGE, 0));
	SHOW(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, PAGE));
	SHOW(more[PAGE + 5]);
	SHOW(store(more + PAGE + 5));
	close(file);
}

int main(void)
{
	struct sigaction action = {.sa_handler = caught};
	int file = open("file", O_CREAT | O_RDWR | O_TRUNC, 0600);

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	ftruncate(file, 4 * PAGE);
	populate(file);
	advice(file);
	moves(file);
	locks();
	checks(file);
	others();
	files();
	return unlink("file");
}
