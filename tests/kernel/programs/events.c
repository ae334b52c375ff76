/* Files that stand for events: epoll, eventfd, timerfd. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "show.h"

static void counters(void)
{
	uint64_t word = 3;
	struct pollfd ready = { .events = POLLIN | POLLOUT };
	int file;

	SHOW_DONE(file = eventfd(5, EFD_NONBLOCK));
	SHOW(write(file, &word, 8));
	SHOW(read(file, &word, 4));
	SHOW(read(file, &word, 8));
	SHOW(word);
	SHOW(read(file, &word, 8));
	word = UINT64_MAX;
	SHOW(write(file, &word, 8));
	word = UINT64_MAX - 1;
	SHOW(write(file, &word, 8));
	word = 1;
	SHOW(write(file, &word, 8));
	ready.fd = file;
	SHOW(poll(&ready, 1, 0));
	SHOW(ready.revents);
	close(file);
	SHOW_DONE(file = eventfd(2, EFD_NONBLOCK | EFD_SEMAPHORE));
	SHOW(read(file, &word, 8));
	SHOW(word);
	SHOW(read(file, &word, 8));
	SHOW(read(file, &word, 8));
	close(file);
	SHOW(eventfd(0, 0x40000000));
}

static void *write_later(void *file)
{
	usleep(20000);
	return (void *)write(*(int *)file, "x", 1);
}

static void sets(void)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = 7 }, found[4];
	int set, ends[2], file;
	pthread_t thread;
	char byte;

	SHOW_DONE(set = epoll_create1(EPOLL_CLOEXEC));
	SHOW(syscall(SYS_epoll_create, 0));
	SHOW(pipe(ends));
	SHOW(epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event));
	SHOW(epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event));
	SHOW(epoll_ctl(set, EPOLL_CTL_MOD, ends[1], &event));
	SHOW(epoll_ctl(set, EPOLL_CTL_ADD, set, &event));
	SHOW_DONE(file = open("file", O_CREAT | O_RDWR, 0600));
	SHOW(epoll_ctl(set, EPOLL_CTL_ADD, file, &event));
	SHOW(epoll_ctl(ends[0], EPOLL_CTL_ADD, ends[1], &event));
	SHOW(epoll_wait(set, found, 4, 0));
	SHOW(epoll_wait(set, found, 0, 0));
	pthread_create(&thread, NULL, write_later, &ends[1]);
	SHOW(epoll_wait(set, found, 4, -1));
	void *written;

	pthread_join(thread, &written);
	SHOW_IS((long)written == 1);
	SHOW(found[0].events);
	SHOW(found[0].data.u64);
	SHOW(epoll_wait(set, found, 4, 0));
	event.events = EPOLLIN | EPOLLONESHOT;
	SHOW(epoll_ctl(set, EPOLL_CTL_MOD, ends[0], &event));
	SHOW(epoll_wait(set, found, 4, 0));
	SHOW(epoll_wait(set, found, 4, 0));
	SHOW(epoll_ctl(set, EPOLL_CTL_MOD, ends[0], &event));
	SHOW(read(ends[0], &byte, 1));
	close(ends[1]);
	SHOW(epoll_wait(set, found, 4, 0));
	SHOW(found[0].events);
	SHOW(epoll_ctl(set, EPOLL_CTL_DEL, ends[0], NULL));
	SHOW(epoll_ctl(set, EPOLL_CTL_DEL, ends[0], NULL));
	SHOW(epoll_wait(set, found, 4, 10));
	close(ends[0]);
	close(file);
	close(set);
}

static void timers(void)
{
	struct itimerspec setting = { .it_value.tv_nsec = 5000000 }, before;
	struct pollfd ready = { .events = POLLIN };
	struct timespec pause = { .tv_nsec = 30000000 };
	uint64_t count = 0;
	int file;

	SHOW_DONE(file = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
	SHOW(timerfd_create(999, 0));
	SHOW(read(file, &count, 8));
	SHOW(timerfd_settime(file, 0, &setting, NULL));
	ready.fd = file;
	SHOW(poll(&ready, 1, -1));
	SHOW(read(file, &count, 8));
	SHOW(count);
	SHOW(read(file, &count, 8));
	SHOW(timerfd_gettime(file, &before));
	SHOW(before.it_value.tv_sec + before.it_value.tv_nsec);
	setting.it_interval.tv_nsec = 1000000;
	SHOW(timerfd_settime(file, 0, &setting, NULL));
	nanosleep(&pause, NULL);
	SHOW(read(file, &count, 8));
	SHOW_IS(count >= 2);
	SHOW(timerfd_settime(file, 0, &(struct itimerspec){}, &before));
	SHOW(before.it_interval.tv_nsec);
	setting.it_value.tv_nsec = 1000000000;
	SHOW(timerfd_settime(file, 0, &setting, NULL));
	SHOW(timerfd_settime(1, 0, &before, NULL));
	close(file);
}

static int told(int set)
{
	struct epoll_event found[4];
	int count = epoll_wait(set, found, 4, 0);

	/* Their order says nothing. */
	for (int file = 0; file < 3; file++)
		for (int at = 0; at < count; at++)
			if (found[at].data.fd == file)
				printf("  %d: %x\n", file, found[at].events);
	return count;
}

static void edges_of(const char *what, int in, int out)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.fd = 1 };
	int set = epoll_create1(0);
	char bytes[8];

	printf("# edges of a %s\n", what);
	SHOW(epoll_ctl(set, EPOLL_CTL_ADD, in, &event));
	event.events = EPOLLOUT | EPOLLET;
	event.data.fd = 2;
	SHOW(epoll_ctl(set, EPOLL_CTL_ADD, out, &event));
	SHOW(told(set));
	SHOW(told(set));
	SHOW(write(out, "\1\0\0\0\0\0\0\0", 8));
	SHOW(told(set));
	SHOW(told(set));
	/* More, which was not read yet. */
	SHOW(write(out, "\1\0\0\0\0\0\0\0", 8));
	SHOW(told(set));
	SHOW(told(set));
	/* A change has it told again. */
	event.events = EPOLLIN | EPOLLET;
	event.data.fd = 1;
	SHOW(epoll_ctl(set, EPOLL_CTL_MOD, in, &event));
	SHOW(told(set));
	SHOW(told(set));
	event.events = EPOLLIN | EPOLLET | EPOLLONESHOT;
	SHOW(epoll_ctl(set, EPOLL_CTL_MOD, in, &event));
	SHOW(told(set));
	SHOW(write(out, "\1\0\0\0\0\0\0\0", 8));
	SHOW(told(set));
	SHOW(epoll_ctl(set, EPOLL_CTL_MOD, in, &event));
	SHOW(told(set));
	SHOW(told(set));
	SHOW(read(in, bytes, 8));
	if (in != out) {
		event.events = EPOLLIN | EPOLLRDHUP | EPOLLET;
		SHOW(epoll_ctl(set, EPOLL_CTL_MOD, in, &event));
		SHOW(told(set));
		SHOW(read(in, bytes, 4));
		SHOW(told(set));
		close(out);
		SHOW(told(set));
		SHOW(told(set));
	}
	close(in);
	close(set);
}

static void edges(void)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLEXCLUSIVE };
	int ends[2], set = epoll_create1(0), outer = epoll_create1(0);
	static char page[65536];

	pipe(ends);
	edges_of("pipe", ends[0], ends[1]);
	socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
	edges_of("stream", ends[0], ends[1]);
	ends[0] = eventfd(0, 0);
	edges_of("counter", ends[0], ends[0]);
	puts("# a pipe that becomes full");
	pipe2(ends, O_NONBLOCK);
	event.events = EPOLLOUT | EPOLLET;
	SHOW(epoll_ctl(set, EPOLL_CTL_ADD, ends[1], &event));
	SHOW(told(set));
	SHOW(write(ends[1], page, sizeof page));
	SHOW(told(set));
	SHOW(read(ends[0], page, sizeof page));
	SHOW(told(set));
	SHOW(told(set));
	puts("# alone");
	event.events = EPOLLIN | EPOLLEXCLUSIVE;
	SHOW(epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event));
	SHOW(epoll_ctl(set, EPOLL_CTL_MOD, ends[0], &event));
	event.events = EPOLLIN;
	SHOW(epoll_ctl(set, EPOLL_CTL_MOD, ends[0], &event));
	SHOW(epoll_ctl(set, EPOLL_CTL_DEL, ends[0], &event));
	event.events = EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT;
	SHOW(epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event));
	event.events = EPOLLIN | EPOLLEXCLUSIVE;
	SHOW(epoll_ctl(outer, EPOLL_CTL_ADD, set, &event));
	event.events = EPOLLIN | EPOLLRDNORM;
	SHOW(epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event));
	SHOW(write(ends[1], "x", 1));
	SHOW(told(set));
	event.events = EPOLLIN;
	SHOW(epoll_ctl(outer, EPOLL_CTL_ADD, set, &event));
	SHOW(told(outer));
	SHOW(told(outer));
	close(ends[0]);
	close(ends[1]);
	close(set);
	close(outer);
}

int main(void)
{
	counters();
	sets();
	edges();
	timers();
	return 0;
}
