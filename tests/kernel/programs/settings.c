/* What is set and given back: priorities, classes of threads, what prctl keeps; and what calls
 * refuse of it. */
#include "show.h"
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { NOBODY = 99999999, PAGE = 4096 };

static void priorities(void)
{
	int status;

	puts("# priorities");
	SHOW(getpriority(PRIO_PROCESS, 0));
	SHOW(setpriority(PRIO_PROCESS, 0, 5));
	SHOW(getpriority(PRIO_PROCESS, 0));
	SHOW(setpriority(PRIO_PROCESS, 0, 100));
	SHOW(getpriority(PRIO_PROCESS, getpid()));
	if (fork() == 0)
		_exit(getpriority(PRIO_PROCESS, 0));
	wait(&status);
	SHOW(WEXITSTATUS(status));
	SHOW(getpriority(9, 0));
	SHOW(getpriority(PRIO_PROCESS, NOBODY));
	SHOW(getpriority(PRIO_USER, NOBODY));
	SHOW(setpriority(9, 0, 1));
	SHOW(setpriority(PRIO_PGRP, NOBODY, 1));
}

/* The calls themselves: musl has none of them. */
static void classes(void)
{
	struct sched_param param = {0};
	struct timespec turn;
	uint64_t cpus[16];

	puts("# classes of threads");
	SHOW(syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, &param));
	SHOW(syscall(SYS_sched_setscheduler, 0, 99, &param));
	SHOW(syscall(SYS_sched_setscheduler, NOBODY, SCHED_OTHER, &param));
	SHOW(syscall(SYS_sched_setscheduler, -1, SCHED_OTHER, &param));
	SHOW(syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, NULL));
	SHOW(syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, -1));
	SHOW(syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &param));
	param.sched_priority = 1;
	SHOW(syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, &param));
	SHOW(syscall(SYS_sched_setparam, 0, &param));
	SHOW(syscall(SYS_sched_setscheduler, 0, SCHED_BATCH, &(struct sched_param){0}));
	SHOW(syscall(SYS_sched_getscheduler, 0));
	SHOW(syscall(SYS_sched_getscheduler, -1));
	SHOW(syscall(SYS_sched_getscheduler, NOBODY));
	SHOW(syscall(SYS_sched_getparam, 0, &param));
	SHOW(param.sched_priority);
	SHOW(syscall(SYS_sched_getparam, -1, &param));
	SHOW(syscall(SYS_sched_getparam, 0, NULL));
	SHOW(syscall(SYS_sched_rr_get_interval, 0, &turn));
	SHOW(syscall(SYS_sched_rr_get_interval, -1, &turn));
	SHOW(syscall(SYS_sched_rr_get_interval, 0, -1));
	SHOW(syscall(SYS_sched_getaffinity, NOBODY, sizeof cpus, cpus));
	SHOW(syscall(SYS_personality, 0xffffffff));
}

/* As in <linux/sched/types.h>, which not every compiler finds. */
struct attributes {
	uint32_t size, class;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t least, most;
	uint64_t later;
};

static void attributes(void)
{
	struct attributes told = {0}, now = {.size = 48};

	puts("# all of them at once");
	SHOW(syscall(SYS_sched_getattr, 0, &told, 48, 0));
	SHOW(told.size);
	SHOW(told.class);
	SHOW(told.nice);
	SHOW(told.priority);
	SHOW(syscall(SYS_sched_getattr, 0, &told, sizeof told, 0) == 0 && told.size >= 48);
	SHOW(syscall(SYS_sched_getattr, 0, &told, 4097, 0));
	SHOW(syscall(SYS_sched_getattr, 0, &told, 47, 0));
	SHOW(syscall(SYS_sched_getattr, 0, &told, 48, 1));
	SHOW(syscall(SYS_sched_getattr, 0, NULL, 48, 0));
	SHOW(syscall(SYS_sched_getattr, 0, 8, 48, 0));
	SHOW(syscall(SYS_sched_getattr, -1, &told, 48, 0));
	SHOW(syscall(SYS_sched_getattr, NOBODY, &told, 48, 0));
	now.nice = 100;
	SHOW(syscall(SYS_sched_setattr, 0, &now, 0));
	SHOW(getpriority(PRIO_PROCESS, 0));
	SHOW(syscall(SYS_sched_getscheduler, 0));
	now.class = SCHED_BATCH, now.flags = 16;
	SHOW(syscall(SYS_sched_setattr, 0, &now, 0));
	SHOW(syscall(SYS_sched_getscheduler, 0));
	now.flags = 8, now.class = 99;
	SHOW(syscall(SYS_sched_setattr, 0, &now, 0));
	SHOW(syscall(SYS_sched_getscheduler, 0));
	now.flags = 0;
	SHOW(syscall(SYS_sched_setattr, 0, &now, 0));
	now.class = SCHED_OTHER, now.priority = 1;
	SHOW(syscall(SYS_sched_setattr, 0, &now, 0));
	now.priority = 0, now.flags = 1 << 20;
	SHOW(syscall(SYS_sched_setattr, 0, &now, 0));
	now.flags = 0, now.size = 47;
	SHOW(syscall(SYS_sched_setattr, 0, &now, 0));
	SHOW(now.size >= 56);
	now.size = 4097;
	SHOW(syscall(SYS_sched_setattr, 0, &now, 0));
	now.size = 0;
	SHOW(syscall(SYS_sched_setattr, 0, &now, 0));
	SHOW(syscall(SYS_sched_setattr, 0, &now, 1));
	SHOW(syscall(SYS_sched_setattr, 0, NULL, 0));
	SHOW(syscall(SYS_sched_setattr, -1, &now, 0));
	SHOW(syscall(SYS_sched_setattr, NOBODY, &now, 0));
}

static volatile sig_atomic_t told;

static void note(int signal)
{
	told = signal;
}

static void asked_of_prctl(void)
{
	int ends[2], value = -1;

	puts("# prctl");
	pipe(ends);
	SHOW(prctl(PR_SET_PDEATHSIG, SIGUSR1));
	SHOW(prctl(PR_GET_PDEATHSIG, &value));
	SHOW(value);
	SHOW(prctl(PR_SET_PDEATHSIG, 65));
	SHOW(prctl(PR_SET_PDEATHSIG, 0));
	SHOW(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
	SHOW(prctl(PR_GET_CHILD_SUBREAPER, &value, 0, 0, 0));
	SHOW(value);
	SHOW(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	SHOW(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	SHOW(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
	SHOW(prctl(PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0));
	SHOW(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	/* A grandchild whose parent ends is told so, and becomes a child of this process. */
	if (fork() == 0) {
		if (fork() == 0) {
			signal(SIGUSR1, note);
			prctl(PR_SET_PDEATHSIG, SIGUSR1);
			write(ends[1], &value, sizeof value);
			while (told == 0)
				usleep(1000);
			value = getppid();
			write(ends[1], &value, sizeof value);
			_exit(7);
		}
		/* Until it wants to be told. */
		read(ends[0], &value, sizeof value);
		_exit(0);
	}
	wait(NULL);
	SHOW(read(ends[0], &value, sizeof value));
	SHOW_IS(value == getpid());
	SHOW_IS(wait(&value) > 0);
	SHOW(WEXITSTATUS(value));
	SHOW(prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0));
}

static void pages(void)
{
	char *memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char there[4];
	int status;

	puts("# pages of memory that were touched; rights up to a hole");
	memory[PAGE] = 1;
	SHOW(mincore(memory, 4 * PAGE, there));
	SHOW(there[0] & 1);
	SHOW(there[1] & 1);
	SHOW(there[2] & 1);
	munmap(memory + PAGE, PAGE);
	SHOW(mprotect(memory, 4 * PAGE, PROT_READ));
	memory[2 * PAGE] = 1;
	if (fork() == 0) {
		memory[0] = 1;
		_exit(0);
	}
	wait(&status);
	SHOW(WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	SHOW(mprotect(memory + PAGE, PAGE, PROT_READ));
	SHOW(mprotect(memory, PAGE, PROT_GROWSDOWN | PROT_GROWSUP));
}

/* How a child ends that stores at this distance below a mapping that grows. */
static int store_below(char *mapping, long distance)
{
	int status;

	if (fork() == 0) {
		mapping[-distance] = 1;
		_exit(mapping[-distance] + mapping[1]);
	}
	wait(&status);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 100 + WEXITSTATUS(status);
}

static void growing(void)
{
	enum { ALL = 1024 * PAGE, AT = 900 * PAGE };
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
	char *room = mmap(NULL, ALL, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *grows;

	puts("# a mapping that grows");
	munmap(room, ALL);
	grows = mmap(room + AT, PAGE, PROT_READ | PROT_WRITE, flags | MAP_GROWSDOWN, -1, 0);
	grows[1] = 7;
	SHOW(store_below(grows, 1));
	SHOW(store_below(grows, 40 * PAGE));
	grows[-PAGE] = 1;
	grows[-3 * PAGE] = 1;
	SHOW(grows[-2 * PAGE]);
	/* Not close to what is mapped below it. */
	mmap(room + AT - 500 * PAGE, PAGE, PROT_READ, flags, -1, 0);
	SHOW(store_below(grows, 200 * PAGE));
	SHOW(store_below(grows, 400 * PAGE));
	/* Not past the limit of the stack. */
	setrlimit(RLIMIT_STACK, &(struct rlimit){16 * PAGE, RLIM_INFINITY});
	SHOW(store_below(grows, 10 * PAGE));
	SHOW(store_below(grows, 20 * PAGE));
	munmap(room, ALL);
}

static void sets_in_sets(void)
{
	struct epoll_event event = {.events = EPOLLIN};
	int up[8], down[8];

	puts("# sets in sets");
	for (int at = 0; at < 8; at++) {
		up[at] = epoll_create1(0);
		down[at] = epoll_create1(0);
	}
	for (int at = 1; at < 6; at++) {
		SHOW(epoll_ctl(up[at], EPOLL_CTL_ADD, up[at - 1], &event));
		SHOW(epoll_ctl(down[at - 1], EPOLL_CTL_ADD, down[at], &event));
	}
	SHOW(epoll_ctl(up[0], EPOLL_CTL_ADD, up[3], &event));
	SHOW(epoll_ctl(up[0], EPOLL_CTL_ADD, down[0], &event));
	SHOW(epoll_ctl(up[4], EPOLL_CTL_DEL, up[3], &event));
	SHOW(epoll_ctl(up[0], EPOLL_CTL_ADD, down[4], &event));
	event.events |= EPOLLEXCLUSIVE;
	SHOW(epoll_ctl(up[0], EPOLL_CTL_MOD, down[4], &event));
}

static void packets(void)
{
	char bytes[8] = {0};
	int ends[2];

	puts("# packets in a pipe");
	/* O_DIRECT, as glibc has it. */
	SHOW(pipe2(ends, 040000));
	SHOW((fcntl(ends[1], F_GETFL) & 040000) != 0);
	SHOW(write(ends[1], "abc", 3));
	SHOW(write(ends[1], "defg", 4));
	SHOW(write(ends[1], "hi", 2));
	SHOW(read(ends[0], bytes, 8));
	SHOW(read(ends[0], bytes, 1));
	SHOW(bytes[0]);
	/* The rest of the packet is gone. */
	SHOW(read(ends[0], bytes, 8));
	SHOW(bytes[0]);
}

static void others(void)
{
	struct timespec time = {0, -1};
	int ends[2], got, file;
	siginfo_t info;
	sigset_t set;

	puts("# other calls");
	SHOW(clock_settime(CLOCK_MONOTONIC, &time));
	SHOW(clock_settime(CLOCK_REALTIME, &time));
	SHOW(syscall(SYS_clock_settime, CLOCK_REALTIME, -1));
	time.tv_nsec = 1;
	SHOW(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC_RAW, 0, &time, NULL));
	SHOW(syscall(SYS_clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &time, NULL));
	SHOW(clock_gettime((clockid_t)(~(unsigned)getppid() << 3 | 2), &time));
	SHOW(clock_gettime((clockid_t)(~(unsigned)NOBODY << 3 | 2), &time));
	pipe(ends);
	SHOW(fcntl(ends[0], F_SETPIPE_SZ, -1));
	SHOW(syscall(SYS_close_range, 100, 200, 0x80));
	file = open("file", O_RDWR | O_CREAT, 0600);
	symlink("file", "link");
	SHOW(syscall(452 /* fchmodat2 */, AT_FDCWD, "file", 0640, 0));
	SHOW(syscall(452, AT_FDCWD, "link", 0640, AT_SYMLINK_NOFOLLOW));
	SHOW(syscall(452, AT_FDCWD, "file", 0640, 1));
	struct flock lock = {.l_type = F_WRLCK, .l_pid = 1};
	SHOW(fcntl(file, F_OFD_SETLK, &lock));
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	info = (siginfo_t){.si_code = SI_QUEUE};
	info.si_value.sival_int = 5;
	SHOW(syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), SIGUSR2, &info));
	SHOW(syscall(SYS_rt_tgsigqueueinfo, getpid(), -1, SIGUSR2, &info));
	got = sigwaitinfo(&set, &info);
	SHOW_IS(got == SIGUSR2);
	SHOW(info.si_value.sival_int);
	info.si_code = SI_USER;
	if (fork() == 0) {
		SHOW(syscall(SYS_rt_tgsigqueueinfo, getppid(), getppid(), SIGUSR2, &info));
		_exit(0);
	}
	wait(NULL);
}

int main(void)
{
	priorities();
	classes();
	attributes();
	asked_of_prctl();
	pages();
	growing();
	sets_in_sets();
	packets();
	others();
	return 0;
}
