/* Processes: fork, exec, wait, groups, stops. */
#include "show.h"
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <unistd.h>

static void wait_for_children(void)
{
	int status;
	siginfo_t info;
	struct rusage usage;

	puts("# wait");
	SHOW(wait(&status));
	SHOW(waitpid(1 << 30, &status, 0));
	pid_t child = fork();
	if (child == 0)
		_exit(42);
	SHOW_IS(waitid(P_PID, child, &info, WEXITED | WNOWAIT) == 0);
	SHOW_IS(info.si_pid == child && info.si_code == CLD_EXITED && info.si_status == 42);
	SHOW_IS(wait4(child, &status, 0, &usage) == child);
	SHOW_IS(WIFEXITED(status) && WEXITSTATUS(status) == 42);
	SHOW(waitid(P_ALL, 0, &info, WEXITED));
	SHOW(waitid(P_ALL, 0, &info, 0));
	SHOW(waitid(99, 0, &info, WEXITED));
	SHOW(waitid(P_PGID, 0x80000000, &info, WEXITED));
	child = fork();
	if (child == 0)
		for (;;)
			pause();
	SHOW(waitpid(child, &status, WNOHANG));
	kill(child, SIGTERM);
	SHOW_IS(waitid(P_PID, child, &info, WEXITED) == 0);
	SHOW_IS(info.si_code == CLD_KILLED && info.si_status == SIGTERM);
	/* Of several that have ended, the oldest comes first. */
	pid_t children[4];
	for (int at = 0; at < 4; at++) {
		children[at] = fork();
		if (children[at] == 0)
			_exit(at);
	}
	for (int at = 0; at < 4; at++)
		SHOW(waitid(P_PID, children[at], &info, WEXITED | WNOWAIT));
	for (int at = 0; at < 4; at++) {
		SHOW_IS(wait(&status) == children[at]);
		SHOW(WEXITSTATUS(status));
	}
	/* Children of a parent that ignores them. */
	signal(SIGCHLD, SIG_IGN);
	child = fork();
	if (child == 0)
		_exit(1);
	SHOW(waitpid(child, &status, 0));
	signal(SIGCHLD, SIG_DFL);
}

static void stops(void)
{
	int status;
	pid_t child;

	puts("# stops");
	child = fork();
	if (child == 0) {
		raise(SIGSTOP);
		_exit(7);
	}
	SHOW_IS(waitpid(child, &status, WUNTRACED) == child);
	SHOW_IS(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	SHOW(waitpid(child, &status, WNOHANG));
	kill(child, SIGCONT);
	SHOW_IS(waitpid(child, &status, WCONTINUED) == child);
	SHOW_IS(WIFCONTINUED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 7));
	if (!WIFEXITED(status))
		waitpid(child, &status, 0);
	SHOW(WEXITSTATUS(status));
	/* One that is stopped can be killed. */
	child = fork();
	if (child == 0)
		for (;;)
			;
	kill(child, SIGSTOP);
	waitpid(child, &status, WUNTRACED);
	SHOW(WSTOPSIG(status));
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	SHOW(WTERMSIG(status));
}

static void groups(void)
{
	int status, ended = 0;
	pid_t child, second;

	puts("# groups");
	child = fork();
	if (child == 0) {
		setpgid(0, 0);
		for (;;)
			pause();
	}
	SHOW(setpgid(child, child));
	SHOW_IS(getpgid(child) == child);
	second = fork();
	if (second == 0) {
		setpgid(0, child);
		for (;;)
			pause();
	}
	SHOW(setpgid(second, child));
	SHOW(kill(-child, 0));
	SHOW(kill(-child, SIGUSR1));
	while (waitpid(-child, &status, 0) > 0)
		ended += WTERMSIG(status) == SIGUSR1;
	SHOW(ended);
	SHOW(kill(-child, SIGUSR1));
	SHOW(kill(1 << 30, 0));
	SHOW(kill(getpid(), 65));
	SHOW(kill(getpid(), 0));
	SHOW(setpgid(0, -1));
	SHOW(setpgid(1 << 30, 0));
	SHOW(getpgid(1 << 30));
	SHOW(getsid(1 << 30));
	child = fork();
	if (child == 0) {
		SHOW_IS(setsid() == getpid());
		SHOW_IS(getsid(0) == getpid() && getpgrp() == getpid());
		SHOW(setsid());
		SHOW(setpgid(0, 0));
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static void programs(char *own)
{
	int status;
	char *arguments[] = {own, "again", NULL};
	char *environment[] = {"NAME=value", NULL};
	pid_t child;

	puts("# exec");
	child = fork();
	if (child == 0) {
		execve(own, arguments, environment);
		_exit(1);
	}
	waitpid(child, &status, 0);
	SHOW(WEXITSTATUS(status));
	child = vfork();
	if (child == 0) {
		execve(own, arguments, environment);
		_exit(1);
	}
	waitpid(child, &status, 0);
	SHOW(WEXITSTATUS(status));
	SHOW(execve("/no/such/program", arguments, environment));
	SHOW(execve("/", arguments, environment));
	SHOW(execve("/dev/null", arguments, environment));
	int file = open("text", O_CREAT | O_WRONLY | O_TRUNC, 0755);
	write(file, "no program", 10);
	close(file);
	SHOW(execve("text", arguments, environment));
	unlink("text");
}

static void readiness(void)
{
	int ends[2];
	char byte;
	struct timeval none = {0, 0}, little = {0, 10000};
	fd_set set;

	puts("# poll and select");
	pipe(ends);
	struct pollfd polled[] = {{ends[0], POLLIN, 0}, {ends[1], POLLOUT, 0}, {-1, POLLIN, 0}};
	SHOW(poll(polled, 1, 0));
	SHOW(poll(polled, 1, 10));
	SHOW(poll(polled, 3, -1));
	SHOW_IS(polled[0].revents == 0 && polled[1].revents == POLLOUT && polled[2].revents == 0);
	pid_t child = fork();
	if (child == 0) {
		usleep(20000);
		write(ends[1], "x", 1);
		_exit(0);
	}
	SHOW(poll(polled, 1, -1));
	SHOW_IS(polled[0].revents == POLLIN);
	waitpid(child, NULL, 0);
	FD_ZERO(&set);
	FD_SET(ends[0], &set);
	SHOW(select(ends[0] + 1, &set, NULL, NULL, &none));
	SHOW_IS(FD_ISSET(ends[0], &set));
	read(ends[0], &byte, 1);
	SHOW(select(ends[0] + 1, &set, NULL, NULL, &little));
	SHOW_IS(FD_ISSET(ends[0], &set));
	close(ends[1]);
	SHOW(poll(polled, 2, -1));
	SHOW_IS(polled[0].revents == POLLHUP && polled[1].revents == POLLNVAL);
	FD_SET(ends[1], &set);
	SHOW(select(ends[1] + 1, &set, NULL, NULL, &none));
	SHOW(select(-1, NULL, NULL, NULL, &none));
	SHOW(poll((struct pollfd *)8, 1, 0));
	close(ends[0]);
}

int main(int count, char **words)
{
	if (count > 1) {
		printf("%s, NAME is %s\n", words[1], getenv("NAME"));
		return 11;
	}
	wait_for_children();
	stops();
	groups();
	programs(words[0]);
	readiness();
	puts("# numbers");
	SHOW_IS(getppid() != getpid());
	SHOW(sched_yield());
	cpu_set_t cpus;
	SHOW(sched_getaffinity(0, sizeof(cpus), &cpus));
	SHOW_IS(CPU_COUNT(&cpus) >= 1);
	return 0;
}
