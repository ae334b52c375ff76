/* Processes by descriptors; what a process asks for; exec by a thread that is not the first. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "show.h"

#define BY_DESCRIPTOR 3
#define MAKE_DESCRIPTOR 0x1000

static char stack[65536];

static int ends(void *status)
{
	return (int)(long)status;
}

static void descriptors(void)
{
	siginfo_t info;
	int own, other, ends_of_pipe[2], status;
	struct pollfd ready = { .events = POLLIN };

	puts("# descriptors");
	SHOW_DONE(own = syscall(SYS_pidfd_open, getpid(), 0));
	SHOW(fcntl(own, F_GETFD));
	SHOW(syscall(SYS_pidfd_open, -1, 0));
	SHOW(syscall(SYS_pidfd_open, 1 << 29, 0));
	SHOW(syscall(SYS_pidfd_open, getpid(), 1 << 20));
	SHOW(syscall(SYS_pidfd_send_signal, own, 0, NULL, 0));
	SHOW(syscall(SYS_pidfd_send_signal, own, 65, NULL, 0));
	SHOW(syscall(SYS_pidfd_send_signal, own, 0, NULL, 1 << 20));
	SHOW(syscall(SYS_pidfd_send_signal, 0, 0, NULL, 0));
	char byte;
	SHOW(read(own, &byte, 1));
	pipe(ends_of_pipe);
	pid_t child = fork();
	if (child == 0) {
		close(ends_of_pipe[1]);
		read(ends_of_pipe[0], &byte, 1);
		_exit(3);
	}
	SHOW_DONE(other = syscall(SYS_pidfd_open, child, O_NONBLOCK));
	ready.fd = other;
	SHOW(poll(&ready, 1, 0));
	SHOW(syscall(SYS_waitid, BY_DESCRIPTOR, other, &info, WEXITED, NULL));
	SHOW_DONE(status = syscall(SYS_pidfd_getfd, other, ends_of_pipe[0], 0));
	SHOW(fcntl(status, F_GETFD));
	SHOW(syscall(SYS_pidfd_getfd, other, 900, 0));
	SHOW(syscall(SYS_pidfd_getfd, other, 0, 1));
	close(ends_of_pipe[1]);
	SHOW(poll(&ready, 1, 60000));
	SHOW(ready.revents);
	SHOW(syscall(SYS_waitid, BY_DESCRIPTOR, other, &info, WEXITED, NULL));
	SHOW(info.si_status);
	SHOW(syscall(SYS_pidfd_send_signal, other, 0, NULL, 0));
	SHOW(syscall(SYS_waitid, BY_DESCRIPTOR, 999, &info, WEXITED, NULL));
	SHOW(syscall(SYS_waitid, BY_DESCRIPTOR, 0, &info, WEXITED, NULL));
	child = clone(ends, stack + sizeof stack, MAKE_DESCRIPTOR | SIGCHLD, (void *)5, &other);
	SHOW(fcntl(other, F_GETFD));
	SHOW(syscall(SYS_waitid, BY_DESCRIPTOR, other, &info, WEXITED, NULL));
	SHOW_IS(info.si_pid == child && info.si_status == 5);
}

static void asks(void)
{
	int value = -1;

	puts("# asks");
	SHOW(prctl(PR_SET_DUMPABLE, 0));
	SHOW(prctl(PR_GET_DUMPABLE));
	SHOW(prctl(PR_SET_DUMPABLE, 1));
	SHOW(prctl(PR_GET_DUMPABLE));
	SHOW(prctl(PR_SET_TIMERSLACK, 100));
	SHOW(prctl(PR_GET_TIMERSLACK));
	SHOW(prctl(PR_SET_TIMERSLACK, 0));
	SHOW(prctl(PR_GET_TIMERSLACK));
	SHOW(prctl(PR_GET_KEEPCAPS));
	SHOW(prctl(PR_SET_KEEPCAPS, 1));
	SHOW(prctl(PR_GET_KEEPCAPS));
	SHOW(prctl(PR_SET_KEEPCAPS, 5));
	SHOW(prctl(PR_SET_TIMING, 0));
	SHOW(prctl(PR_SET_TIMING, 1));
	SHOW(prctl(PR_GET_TIMING));
	SHOW(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	SHOW(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
	SHOW(prctl(PR_GET_TSC, &value));
	SHOW(value);
}

static void *sleeps(void *none)
{
	for (;;)
		pause();
	return none;
}

static void *executes(void *own)
{
	execl(own, own, "again", NULL);
	return NULL;
}

int main(int count, char **words)
{
	pthread_t first, second;
	int status;

	if (count > 1) {
		SHOW_IS(syscall(SYS_gettid) == getpid());
		SHOW(kill(getpid(), 0));
		SHOW(syscall(SYS_tgkill, getpid(), getpid(), 0));
		return 5;
	}
	descriptors();
	asks();
	puts("# exec by a thread");
	pid_t child = fork();
	if (child == 0) {
		pthread_create(&first, NULL, sleeps, NULL);
		pthread_create(&second, NULL, executes, words[0]);
		pthread_join(first, NULL);
	}
	SHOW_IS(waitpid(child, &status, 0) == child);
	SHOW(WEXITSTATUS(status));
	return 0;
}
