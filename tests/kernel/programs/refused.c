/* What calls refuse, and with which error: mappings and their locks, positions and ranges of files
 * of other kinds. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "show.h"

#define PAGE 4096L
#define BOTH (PROT_READ | PROT_WRITE)
#define MEMORY (MAP_PRIVATE | MAP_ANONYMOUS)

/* Not in musl's headers. */
#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 3
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#define DONTNEED_LOCKED 24
#define BLOCK_SIZE_OF_FILE _IO(0, 2)
#define CLONE_FILE _IOW(0x94, 9, int)
#define preadv2(file, parts, count, at, flags)                                 \
	syscall(SYS_preadv2, file, parts, (long)(count), (long)(at), 0L, (long)(flags))
#define pwritev2(file, parts, count, at, flags)                                \
	syscall(SYS_pwritev2, file, parts, (long)(count), (long)(at), 0L, (long)(flags))

static int ends[2];

static char *new_memory(long pages)
{
	return mmap(0, (size_t)(pages * PAGE), BOTH, MEMORY, -1, 0);
}

static void mappings(int file)
{
	int zeros = open("/dev/zero", O_RDONLY);
	char *fixed = new_memory(2), *hole = new_memory(4);
	void *odd = fixed + 1;

	SHOW_DONE(mmap(0, PAGE, PROT_READ, MAP_PRIVATE, ends[0], 0));
	SHOW_DONE(mmap(0, PAGE, PROT_READ, MAP_PRIVATE, ends[1], 0));
	SHOW_DONE(mmap(0, PAGE, BOTH, MAP_SHARED, zeros, 0));
	SHOW_DONE(mmap(0, PAGE, PROT_READ, MAP_SHARED, zeros, 0));
	SHOW_DONE(mmap(0, PAGE, BOTH, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, -1, 0));
	SHOW_DONE(mmap(0, PAGE, BOTH, MAP_PRIVATE | MAP_GROWSDOWN, file, 0));
	SHOW_DONE(mmap(odd, PAGE, BOTH, MEMORY | MAP_FIXED_NOREPLACE, -1, 0));
	SHOW_DONE(mmap(fixed, PAGE, BOTH, MEMORY | MAP_FIXED_NOREPLACE, -1, 0));
	SHOW(mprotect(fixed, PAGE, PROT_READ | PROT_GROWSDOWN));
	SHOW(mprotect(fixed, PAGE, PROT_READ | PROT_GROWSDOWN | PROT_GROWSUP));
	munmap(hole + PAGE, PAGE);
	SHOW(madvise(hole, 4 * PAGE, MADV_REMOVE));
	SHOW(madvise(hole, 4 * PAGE, MADV_WIPEONFORK));
	SHOW(mlock(hole, (size_t)-1));
	SHOW(munlock(hole, (size_t)-1));
}

static void discarded(void)
{
	char *memory = new_memory(1);

	memory[0] = 'x';
	SHOW(mlock(memory, PAGE));
	SHOW(madvise(memory, PAGE, MADV_DONTNEED));
	SHOW_IS(memory[0] == 'x');
	SHOW(madvise(memory, PAGE, DONTNEED_LOCKED));
	SHOW_IS(memory[0] == 0);
	SHOW(munlock(memory, PAGE));
}

static void locks_of_users(void)
{
	struct rlimit limit = { PAGE, PAGE };
	char *memory = new_memory(4);

	setrlimit(RLIMIT_MEMLOCK, &limit);
	if (setgid(1000) || setuid(1000))
		_exit(9);
	SHOW(mlock(memory, PAGE));
	SHOW(mlock(memory + PAGE, PAGE));
	/* A page is counted once. */
	SHOW(mlock(memory, PAGE));
	SHOW(mlock(memory, 2 * PAGE));
	SHOW_DONE(mmap(0, PAGE, BOTH, MEMORY | MAP_LOCKED, -1, 0));
	SHOW(mlockall(MCL_CURRENT));
	SHOW(mlockall(MCL_FUTURE));
	SHOW_DONE(mmap(0, PAGE, BOTH, MEMORY, -1, 0));
	SHOW(munlockall());
	SHOW_DONE(mmap(0, PAGE, BOTH, MEMORY | MAP_LOCKED, -1, 0));
	limit.rlim_cur = 0;
	setrlimit(RLIMIT_MEMLOCK, &limit);
	SHOW_DONE(mmap(0, PAGE, BOTH, MEMORY | MAP_LOCKED, -1, 0));
	SHOW(mlock(memory, PAGE));
	_exit(0);
}

/* Each call on a file that is read, one that is written, a directory, and both ends of a pipe. */
#define EACH(call)                                                             \
	do {                                                                   \
		for (int at = 0; at < 5; at++) {                               \
			const int file = files[at];                            \
			printf("%s: ", names[at]);                             \
			SHOW(call);                                            \
		}                                                              \
	} while (0)

static void kinds(void)
{
	static const char *const names[] = { "read", "written", "directory", "pipe out", "pipe in" };
	int files[] = { open("refused", O_RDONLY), open("refused", O_WRONLY), open(".", O_RDONLY),
			ends[0], ends[1] };
	char byte = 'x';
	struct iovec one = { &byte, 1 };
	int number = 0;

	EACH(pread(file, &byte, 1, 0));
	EACH(pwrite(file, &byte, 1, 0));
	EACH(preadv(file, &one, 1, 0));
	EACH(preadv2(file, &one, 1, 0, 0));
	EACH(preadv2(file, &one, 1, -2, 0));
	EACH(preadv2(file, &one, 1, 0, 1 << 30));
	EACH(pwritev2(file, &one, 1, 0, 1 << 30));
	EACH(pwritev2(file, &one, 1, -1, 1 << 30));
	EACH(lseek(file, 0, 99));
	EACH(fallocate(file, 0xff00, 0, 1));
	EACH(sync_file_range(file, 0, 0, 7));
	EACH(sync_file_range(file, 0, 0, 8));
	EACH(sync_file_range(file, -1, 0, 7));
	EACH(posix_fadvise(file, 0, -1, POSIX_FADV_NORMAL));
	EACH(ioctl(file, BLOCK_SIZE_OF_FILE, &number));
	SHOW(number);
	SHOW(ioctl(files[1], CLONE_FILE, files[1]));
	SHOW(ioctl(files[0], CLONE_FILE, files[0]));
	SHOW(ioctl(files[1], CLONE_FILE, files[0]));
	SHOW(syscall(436, 1000, 2000, 8));
	SHOW(syscall(SYS_getrandom, &byte, 1, 99));
}

static void pipes(void)
{
	static char bytes[70000];
	int nested[6];
	struct epoll_event event = { .events = EPOLLIN };

	fcntl(ends[1], F_SETFL, O_NONBLOCK);
	SHOW(write(ends[1], bytes, 62000));
	/* As much as there is room for; what is to be written together, not at all. */
	SHOW(write(ends[1], bytes, 4096));
	SHOW(write(ends[1], bytes, 70000) > 0);
	SHOW(fcntl(ends[1], F_SETPIPE_SZ, -1));
	/* Sets in sets. */
	for (int at = 0; at < 6; at++)
		nested[at] = epoll_create1(0);
	for (int at = 0; at < 4; at++)
		SHOW(epoll_ctl(nested[at + 1], EPOLL_CTL_ADD, nested[at], &event));
	SHOW(epoll_ctl(nested[5], EPOLL_CTL_ADD, nested[4], &event));
	SHOW(epoll_ctl(nested[0], EPOLL_CTL_ADD, nested[0], &event));
	SHOW(epoll_ctl(nested[0], EPOLL_CTL_ADD, nested[1], &event));
	SHOW(syscall(SYS_epoll_wait, nested[0], &event, 1 << 30, 0));
	/* That nothing reads is the writer's own signal. */
	close(ends[0]);
	sigset_t signals;
	siginfo_t told;
	sigemptyset(&signals);
	sigaddset(&signals, SIGPIPE);
	sigprocmask(SIG_BLOCK, &signals, 0);
	SHOW(write(ends[1], bytes, 1));
	SHOW(sigwaitinfo(&signals, &told));
	SHOW_IS(told.si_code == SI_USER && told.si_pid == getpid());
}

int main(void)
{
	int file = open("refused", O_CREAT | O_TRUNC | O_RDWR, 0644), status = 0;

	SHOW(pipe(ends));
	mappings(file);
	discarded();
	if (fork() == 0)
		locks_of_users();
	wait(&status);
	SHOW(status);
	kinds();
	pipes();
	return 0;
}
