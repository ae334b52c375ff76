/* What processes share that `clone` is told to share, and waits that a stop does not end. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "show.h"

static char stack[65536];
static int opened, ends[2];

static void on_signal(int signal)
{
	(void)signal;
}

/* Runs `child` with these flags, and waits for it. */
static void with(int flags, int (*child)(void *))
{
	int status = -1;
	pid_t number = clone(child, stack + sizeof stack, flags | SIGCHLD, NULL);

	SHOW_IS(waitpid(number, &status, 0) == number);
	SHOW(status);
}

/* What this process and its parent have together. */
static int compares(void *nothing)
{
	static const char *const kinds[] = { "file", "memory", "descriptors", "place", "actions", "requests" };

	(void)nothing;
	for (int kind = 0; kind < 6; kind++)
		printf("the same %s: %s\n", kinds[kind],
		       syscall(SYS_kcmp, getpid(), getppid(), kind, 1, 1) ? "no" : "yes");
	return 0;
}

static void compared(void)
{
	int copy = dup(1), own = getpid();

	puts("# compared");
	with(0, compares);
	with(CLONE_VM, compares);
	with(CLONE_VM | CLONE_FILES, compares);
	with(CLONE_FS, compares);
	with(CLONE_VM | CLONE_SIGHAND, compares);
	SHOW(syscall(SYS_kcmp, own, own, 0, 1, copy));
	opened = open("/dev/null", O_RDWR);
	/* The one comes before the other, and the other behind the one. */
	SHOW(syscall(SYS_kcmp, own, own, 0, 1, opened) + syscall(SYS_kcmp, own, own, 0, opened, 1));
	close(opened);
	close(copy);
	SHOW(syscall(SYS_kcmp, own, own, 0, 1, opened));
	SHOW(syscall(SYS_kcmp, own, own, 0, -1, 1));
	SHOW(syscall(SYS_kcmp, own, own, 99, 0, 0));
	SHOW(syscall(SYS_kcmp, own, 1 << 29, 1, 0, 0));
	SHOW(syscall(SYS_kcmp, -1, own, 1, 0, 0));
}

static int changes(void *nothing)
{
	struct sigaction action = { .sa_handler = on_signal };

	(void)nothing;
	opened = open("/dev/null", O_RDWR);
	close(ends[0]);
	umask(0123);
	chdir("/proc");
	sigaction(SIGUSR1, &action, NULL);
	return 0;
}

static void show_shared(void)
{
	struct sigaction action;
	char cwd[256];

	SHOW_DONE(fcntl(opened, F_GETFD));
	SHOW_DONE(fcntl(ends[0], F_GETFD));
	SHOW_IS(strcmp(getcwd(cwd, sizeof cwd), "/proc") == 0);
	SHOW_IS(umask(022) == 0123);
	sigaction(SIGUSR1, NULL, &action);
	SHOW_IS(action.sa_handler == on_signal);
	/* As it was. */
	close(opened);
	close(ends[0]);
	close(ends[1]);
	chdir("/tmp");
	signal(SIGUSR1, SIG_DFL);
}

static int unshares(void *nothing)
{
	SHOW(unshare(CLONE_FILES | CLONE_FS));
	return changes(nothing);
}

static int unshares_by_range(void *nothing)
{
	SHOW(syscall(SYS_close_range, 900, 1000, 2));
	return changes(nothing);
}

static void shared(void)
{
	static const int flags[] = {
		CLONE_VM, CLONE_VM | CLONE_FILES, CLONE_VM | CLONE_FS, CLONE_VM | CLONE_SIGHAND,
		CLONE_VM | CLONE_FILES | CLONE_FS | CLONE_SIGHAND,
	};
	for (size_t at = 0; at < sizeof flags / sizeof *flags; at++) {
		printf("# flags %x\n", flags[at]);
		pipe(ends);
		with(flags[at], changes);
		show_shared();
	}
	puts("# unshare");
	pipe(ends);
	with(CLONE_VM | CLONE_FILES | CLONE_FS, unshares);
	show_shared();
	pipe(ends);
	with(CLONE_VM | CLONE_FILES, unshares_by_range);
	show_shared();
	SHOW(unshare(0));
	SHOW(unshare(0x1));
	SHOW_DONE(clone(changes, stack + sizeof stack, CLONE_SIGHAND, NULL));
	SHOW_DONE(clone(changes, stack + sizeof stack, CLONE_VM | CLONE_THREAD, NULL));
}

static long passed(const struct timespec *from)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - from->tv_sec) * 1000 + (now.tv_nsec - from->tv_nsec) / 1000000;
}

enum { SLEEP, CLOCK, POLL, SELECT, PPOLL, FUTEX, PAUSE, EPOLL, SIGWAIT, WAITS };

static const char *const names[] = {
	"nanosleep", "clock_nanosleep", "poll", "select", "ppoll", "futex", "pause", "epoll_wait",
	"sigtimedwait",
};

/* A wait of so many milliseconds. */
static int wait_so(int kind, int len)
{
	struct timespec time = { len / 1000, len % 1000 * 1000000 };
	struct timeval micro = { len / 1000, len % 1000 * 1000 };
	struct epoll_event event;
	sigset_t set;
	int word = 1;

	switch (kind) {
	case SLEEP: return nanosleep(&time, NULL);
	case CLOCK: return clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
	case POLL: return poll(NULL, 0, len);
	case SELECT: return select(0, NULL, NULL, NULL, &micro);
	case PPOLL: return ppoll(NULL, 0, &time, NULL);
	case FUTEX: return syscall(SYS_futex, &word, 0 /* wait */, 1, &time, NULL, 0);
	case PAUSE: ualarm(200000, 0); return pause();
	case EPOLL: return epoll_wait(epoll_create1(0), &event, 1, len);
	case SIGWAIT:
		sigemptyset(&set);
		sigaddset(&set, SIGUSR2);
		return syscall(SYS_rt_sigtimedwait, &set, NULL, &time, 8);
	}
	return 0;
}

/* Waits until a process sleeps, or has ended: on a slow machine its wait may be over. */
static void until_asleep(pid_t process)
{
	char path[64], state = 0;

	sprintf(path, "/proc/%d/stat", process);
	do {
		usleep(20000);
		FILE *stat = fopen(path, "r");
		fscanf(stat, "%*d %*s %c", &state);
		fclose(stat);
	} while (state != 'S' && state != 'Z');
}

/* A child that waits is stopped and goes on, or a handler runs. */
static void interrupted(int kind, int by_handler)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	/* Those that end early would wait for long. */
	int status, ends_early = by_handler || kind >= EPOLL;
	struct timespec from;
	pid_t child = fork();

	if (child == 0) {
		sigaction(SIGUSR1, &action, NULL);
		sigaction(SIGALRM, &action, NULL);
		clock_gettime(CLOCK_MONOTONIC, &from);
		errno = 0;
		int result = wait_so(kind, ends_early ? 60000 : 150);
		int error = result > 0 && kind == CLOCK ? result : errno;
		printf("%s, %s: %s%s\n", names[kind], by_handler ? "handler" : "stop",
		       error ? error_name(error) : "0",
		       ends_early || passed(&from) >= 150 ? "" : ", too early");
		_exit(0);
	}
	until_asleep(child);
	if (by_handler) {
		kill(child, SIGUSR1);
	} else {
		kill(child, SIGSTOP);
		waitpid(child, &status, WUNTRACED);
		kill(child, SIGCONT);
	}
	waitpid(child, &status, 0);
}

int main(void)
{
	chdir("/tmp");
	compared();
	shared();
	puts("# waits");
	for (int kind = 0; kind < WAITS; kind++) {
		interrupted(kind, 0);
		interrupted(kind, 1);
	}
	return 0;
}
