/* What ends a wait: children of each kind, handlers that run meanwhile, locks that never come, the
 * time that a process has run. */
#include "show.h"
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef __WALL
#define __WALL 0x40000000
#endif
#ifndef __WCLONE
#define __WCLONE 0x80000000
#endif

static volatile sig_atomic_t last;

static void note(int signal)
{
	last = signal;
}

/* SIGALRM again and again, with a handler that has calls made again. */
static void alarm_soon(void)
{
	struct sigaction action = {.sa_handler = note, .sa_flags = SA_RESTART};
	struct itimerval timer = {{0, 50000}, {0, 50000}};

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

static void waits_for_files(void)
{
	struct timeval seconds = {10, 0};
	struct timespec time = {10, 0};
	struct epoll_event event;
	int set = epoll_create1(0), ends[2];

	puts("# waits for files end with a handler, whatever SA_RESTART says");
	pipe(ends);
	alarm_soon();
	SHOW(poll(NULL, 0, 10000));
	alarm_soon();
	SHOW(ppoll(NULL, 0, &time, NULL));
	alarm_soon();
	SHOW(select(0, NULL, NULL, NULL, &seconds));
	alarm_soon();
	SHOW(pselect(0, NULL, NULL, NULL, &time, NULL));
	alarm_soon();
	SHOW(epoll_wait(set, &event, 1, 10000));
	/* A read is made again. */
	alarm_soon();
	if (fork() == 0) {
		usleep(200000);
		write(ends[1], "x", 1);
		_exit(0);
	}
	last = 0;
	SHOW(read(ends[0], &event, 1));
	SHOW_IS(last == SIGALRM);
	setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
	while (wait(NULL) > 0)
		;
}

static long child(unsigned long flags)
{
	long number = syscall(SYS_clone, flags, 0, 0, 0, 0);

	if (number == 0)
		_exit(3);
	return number;
}

static void kinds_of_children(void)
{
	int status;
	long number;

	puts("# kinds of children");
	SHOW(waitpid(-1, &status, 1 << 20));
	SHOW(wait4(-1, &status, -1, NULL));
	SHOW(waitpid((pid_t)0x80000000, &status, 0));
	SHOW(waitid(P_ALL, 0, NULL, WEXITED | 1 << 20));
	number = child(SIGCHLD);
	SHOW(waitpid(number, &status, __WCLONE));
	SHOW_IS(waitpid(number, &status, 0) == number);
	signal(SIGUSR2, note);
	last = 0;
	number = child(SIGUSR2);
	while (last == 0)
		usleep(1000);
	SHOW_IS(last == SIGUSR2);
	SHOW(waitpid(number, &status, 0));
	SHOW_IS(waitpid(number, &status, __WCLONE) == number);
	number = child(0);
	SHOW_IS(waitpid(number, &status, __WALL) == number);
	SHOW(WEXITSTATUS(status));
	/* Only a child that ends with SIGCHLD goes unseen. */
	signal(SIGCHLD, SIG_IGN);
	number = child(SIGUSR2);
	SHOW_IS(waitpid(number, &status, __WALL) == number);
	SHOW(waitpid(child(SIGCHLD), &status, 0));
	signal(SIGCHLD, SIG_DFL);
}

struct arguments {
	uint64_t flags, pidfd, child, parent, signal, stack, size, tls, set, set_size, cgroup, more;
};

static long clone3(struct arguments *arguments, size_t size)
{
	long number = syscall(SYS_clone3, arguments, size);

	if (number == 0)
		_exit(0);
	if (number > 0)
		waitpid(number, NULL, __WALL);
	return number > 0 ? 1 : number;
}

static void refused_clones(void)
{
	struct arguments good = {.signal = SIGCHLD}, bad;
	static char large[5000];

	puts("# clones that cannot be");
	SHOW(child(CLONE_SIGHAND | SIGCHLD));
	SHOW(child(CLONE_THREAD | CLONE_VM | SIGCHLD));
	SHOW(clone3(&good, sizeof good));
	SHOW(clone3(&good, 64));
	SHOW(clone3(&good, 63));
	SHOW(clone3((struct arguments *)large, sizeof large));
	bad = good;
	bad.more = 1;
	SHOW(clone3(&bad, sizeof bad));
	bad = good;
	bad.signal = 65;
	SHOW(clone3(&bad, sizeof bad));
	bad = good;
	bad.stack = 4096;
	SHOW(clone3(&bad, sizeof bad));
	bad = good;
	bad.flags = SIGCHLD;
	SHOW(clone3(&bad, sizeof bad));
	bad = good;
	bad.flags = CLONE_PARENT;
	SHOW(clone3(&bad, sizeof bad));
	SHOW(clone3((struct arguments *)-1, sizeof bad));
}

/* The error of the wait for a lock that is never free, of the one that waits in vain. */
static void circles_of_locks(void)
{
	int file = open("locked", O_RDWR | O_CREAT, 0600), told[2], results[2];
	struct flock own = {.l_type = F_WRLCK, .l_len = 1}, other = own;
	int errors[2], circles = 0;

	puts("# circles of locks");
	pipe(told);
	pipe(results);
	for (int number = 0; number < 3; number++) {
		if (fork() != 0)
			continue;
		own.l_start = number;
		other.l_start = (number + 1) % 3;
		fcntl(file, F_SETLK, &own);
		write(results[1], &number, sizeof number);
		/* Until all three have their own. */
		read(told[0], &number, 1);
		errors[0] = fcntl(file, F_SETLKW, &other) == -1 ? errno : 0;
		write(results[1], errors, sizeof errors[0]);
		_exit(0);
	}
	for (int number = 0; number < 3; number++)
		read(results[0], errors, sizeof errors[0]);
	write(told[1], "abc", 3);
	for (int number = 0; number < 3; number++) {
		read(results[0], errors, sizeof errors[0]);
		circles += errors[0] == EDEADLK;
	}
	SHOW_IS(circles == 1);
	while (wait(NULL) > 0)
		;
}

/* A process that was stopped goes on with its wait. */
static void stopped_waits(void)
{
	sigset_t none;
	int status;

	puts("# waits that go on after a stop");
	sigemptyset(&none);
	for (int kind = 0; kind < 2; kind++) {
		pid_t child = fork();

		if (child == 0) {
			signal(SIGUSR1, note);
			last = 0;
			if (kind == 0)
				pause();
			else
				sigsuspend(&none);
			_exit(last == SIGUSR1 ? 4 : 5);
		}
		usleep(50000);
		kill(child, SIGSTOP);
		SHOW_IS(waitpid(child, &status, WUNTRACED) == child);
		kill(child, SIGCONT);
		usleep(50000);
		SHOW(waitpid(child, &status, WNOHANG));
		kill(child, SIGUSR1);
		SHOW_IS(waitpid(child, &status, 0) == child);
		SHOW(WEXITSTATUS(status));
	}
}

static void groups_of_children(void)
{
	int ends[2];
	char byte;
	pid_t child;

	puts("# the group of a child that runs another program");
	pipe(ends);
	SHOW(setpgid(-1, 0));
	SHOW(setpgid(0, -1));
	child = fork();
	if (child == 0) {
		dup2(ends[1], 1);
		execl("/proc/self/exe", "waiting", "sleep", NULL);
		_exit(1);
	}
	SHOW(setpgid(child, child) == 0 || errno == EACCES);
	read(ends[0], &byte, 1);
	SHOW(setpgid(child, child));
	kill(child, SIGKILL);
	wait(NULL);
}

static long long ran(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void time_that_it_ran(void)
{
	static const int kinds[] = {ITIMER_VIRTUAL, ITIMER_PROF};
	static const int signals[] = {SIGVTALRM, SIGPROF};
	struct itimerval timer = {{0, 0}, {0, 150000}}, old;

	puts("# timers of the time that a process has run");
	for (int at = 0; at < 2; at++) {
		long long start = ran();

		signal(signals[at], note);
		last = 0;
		SHOW(setitimer(kinds[at], &timer, NULL));
		/* Sleeping does not count. On a busy machine the calls before it take a while. */
		usleep(200000);
		SHOW_IS(last == 0);
		while (last == 0)
			;
		SHOW_IS(last == signals[at]);
		SHOW_IS(ran() - start >= 100000000);
		SHOW(getitimer(kinds[at], &old));
		SHOW_IS(old.it_value.tv_sec == 0 && old.it_value.tv_usec == 0);
		SHOW(setitimer(kinds[at], &(struct itimerval){{0, 0}, {50, 0}}, NULL));
		SHOW(setitimer(kinds[at], &(struct itimerval){0}, &old));
		SHOW_IS(old.it_value.tv_sec == 49 || old.it_value.tv_sec == 50);
	}
	SHOW(setitimer(3, &timer, NULL));
}

static void made_timers(void)
{
	static const clockid_t clocks[] = {CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID};
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};

	puts("# timers of those clocks");
	signal(SIGUSR1, note);
	for (int at = 0; at < 2; at++) {
		struct itimerspec soon = {.it_value = {0, 20000000}}, left;
		timer_t timer;

		SHOW(timer_create(clocks[at], &event, &timer));
		last = 0;
		SHOW(timer_settime(timer, 0, &soon, NULL));
		while (last == 0)
			;
		SHOW_IS(last == SIGUSR1);
		clock_gettime(clocks[at], &soon.it_value);
		soon.it_value.tv_sec += 50;
		SHOW(timer_settime(timer, TIMER_ABSTIME, &soon, NULL));
		SHOW(timer_gettime(timer, &left));
		SHOW_IS(left.it_value.tv_sec == 49 || left.it_value.tv_sec == 50);
		SHOW(timer_delete(timer));
	}
}

static void limited_time(void)
{
	struct rlimit limit = {1, 2};
	int status, ends[2];
	char byte;

	puts("# RLIMIT_CPU");
	pipe(ends);
	if (fork() == 0) {
		signal(SIGXCPU, note);
		setrlimit(RLIMIT_CPU, &limit);
		while (last != SIGXCPU)
			;
		write(ends[1], "x", 1);
		for (;;)
			;
	}
	SHOW(read(ends[0], &byte, 1));
	wait(&status);
	SHOW(WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

int main(int count, char **arguments)
{
	if (count > 1 && strcmp(arguments[1], "sleep") == 0) {
		write(1, "x", 1);
		sleep(100);
	}
	waits_for_files();
	stopped_waits();
	groups_of_children();
	kinds_of_children();
	refused_clones();
	circles_of_locks();
	time_that_it_ran();
	made_timers();
	limited_time();
	return 0;
}
