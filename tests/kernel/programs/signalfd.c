/* Signals that are read from a file. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "show.h"

static int file;

static void show_next(int count)
{
	struct signalfd_siginfo infos[4];
	long done = SHOW(read(file, infos, count * sizeof infos[0]));

	for (int i = 0; i < done / (long)sizeof infos[0]; i++)
		printf("signal %d, code %d, from %s, value %d, status %d\n", infos[i].ssi_signo,
		       infos[i].ssi_code,
		       infos[i].ssi_pid == 0 ? "none" :
		       infos[i].ssi_pid == (unsigned)getpid() ? "itself" : "another",
		       infos[i].ssi_int, infos[i].ssi_status);
}

int main(void)
{
	struct pollfd ready = { .events = POLLIN | POLLOUT };
	union sigval value = { .sival_int = 77 };
	sigset_t set, other;
	char byte;
	pid_t child;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGKILL);
	sigprocmask(SIG_BLOCK, &set, NULL);
	SHOW(signalfd(-2, &set, 0));
	SHOW(signalfd(0, &set, 0));
	SHOW(signalfd(-1, &set, 1));
	SHOW_DONE(file = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
	SHOW(fcntl(file, F_GETFD));
	SHOW_IS((fcntl(file, F_GETFL) & O_NONBLOCK) != 0);
	SHOW(write(file, &set, 128));
	SHOW(read(file, &byte, 1));
	show_next(1);
	ready.fd = file;
	SHOW(poll(&ready, 1, 0));
	raise(SIGUSR1);
	SHOW(poll(&ready, 1, 0));
	SHOW(ready.revents);
	show_next(4);
	sigqueue(getpid(), SIGRTMIN, value);
	value.sival_int = 78;
	sigqueue(getpid(), SIGRTMIN, value);
	kill(getpid(), SIGUSR1);
	show_next(2);
	show_next(2);
	/* Another set: what is pending stays pending. */
	kill(getpid(), SIGUSR1);
	sigemptyset(&other);
	sigaddset(&other, SIGUSR2);
	SHOW_IS(signalfd(file, &other, 0) == file);
	show_next(1);
	SHOW_IS(signalfd(file, &set, 0) == file);
	show_next(1);
	/* A read that waits. */
	fcntl(file, F_SETFL, 0);
	child = fork();
	if (child == 0) {
		struct timespec pause = { .tv_nsec = 20000000 };

		nanosleep(&pause, NULL);
		_exit(5);
	}
	show_next(1);
	waitpid(child, NULL, 0);
	child = fork();
	if (child == 0) {
		/* The signals of the one who reads. */
		fcntl(file, F_SETFL, O_NONBLOCK);
		show_next(1);
		raise(SIGUSR1);
		show_next(1);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	show_next(1);
	close(file);
	return 0;
}
