/* What sockets pass beside bytes, packets in order, and what flags and options change. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "show.h"

static int pair[2];
static char bytes[4096];
static int last_file;

static union {
	char bytes[2048];
	struct cmsghdr align;
} control;

static void on_signal(int signal)
{
	printf("signal %d\n", signal);
}

static void events(int socket)
{
	struct pollfd ready = { socket, POLLIN | POLLOUT | POLLRDHUP, 0 };

	poll(&ready, 1, 0);
	printf("events %x\n", ready.revents);
}

/* Sends `text` with so many descriptors of a file. */
static long pass(int socket, const char *text, int file, int count)
{
	struct iovec part = { (void *)text, strlen(text) };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	memset(&control, 0, sizeof control);
	message.msg_control = &control;
	message.msg_controllen = CMSG_SPACE(count * sizeof(int));
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(count * sizeof(int));
	for (int at = 0; at < count; at++)
		memcpy(CMSG_DATA(header) + at * sizeof(int), &file, sizeof file);
	/* One of the C libraries takes a few control messages alone. */
	return syscall(SYS_sendmsg, socket, &message, 0);
}

/* Receives up to `len` bytes with `room` bytes for control messages, and shows what came. */
static void take(int socket, size_t len, size_t room, int flags)
{
	struct iovec part = { bytes, len };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = room };
	long got = recvmsg(socket, &message, flags);

	if (got == -1) {
		printf("recvmsg: %s\n", error_name(errno));
		return;
	}
	printf("%ld bytes: %.*s, flags %x, %zu bytes of control messages\n", got, (int)got, bytes, message.msg_flags,
	       (size_t)message.msg_controllen);
	for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
		printf("  level %d, type %d, %zu bytes\n", header->cmsg_level, header->cmsg_type, (size_t)header->cmsg_len);
		if (header->cmsg_type == SCM_RIGHTS) {
			int count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);

			for (int at = 0; at < count; at++) {
				memcpy(&last_file, CMSG_DATA(header) + at * sizeof(int), sizeof(int));
				printf("  closes on exec: %d\n", fcntl(last_file, F_GETFD));
				if (at + 1 < count)
					close(last_file);
			}
		} else {
			struct ucred who;

			memcpy(&who, CMSG_DATA(header), sizeof who);
			printf("  %s, user %d, group %d\n", who.pid == getpid() ? "itself" : who.pid ? "another" : "none",
			       (int)who.uid, (int)who.gid);
		}
	}
}

static void files_of(int kind)
{
	char file_bytes[8] = "";
	int file = open("/tmp/passed", O_RDWR | O_CREAT | O_TRUNC, 0600), ends[2], more[2];

	printf("# type %d\n", kind);
	SHOW(socketpair(AF_UNIX, kind, 0, pair));
	SHOW(pass(pair[0], "one", file, 1));
	take(pair[1], 16, sizeof control, 0);
	SHOW(write(last_file, "hello", 5));
	SHOW(pread(file, file_bytes, 5, 0));
	SHOW(lseek(file, 0, SEEK_CUR));
	close(last_file);
	SHOW(pass(pair[0], "two", file, 2));
	take(pair[1], 16, sizeof control, MSG_PEEK | MSG_CMSG_CLOEXEC);
	close(last_file);
	take(pair[1], 16, CMSG_SPACE(sizeof(int)), MSG_CMSG_CLOEXEC);
	close(last_file);
	/* Without room, and by a read. */
	SHOW(pass(pair[0], "none", file, 1));
	take(pair[1], 16, 0, 0);
	SHOW(pass(pair[0], "short", file, 3));
	take(pair[1], 16, CMSG_LEN(2 * sizeof(int)), 0);
	close(last_file);
	SHOW(pass(pair[0], "read", file, 1));
	SHOW(read(pair[1], bytes, 16));
	SHOW(pass(pair[0], "bad", 999, 1));
	SHOW(pass(pair[0], "many", file, 254));
	SHOW(pass(pair[0], "most", file, 253));
	SHOW(recv(pair[1], bytes, 16, 0));
	/* Where messages end. */
	SHOW(write(pair[0], "before", 6));
	SHOW(pass(pair[0], "with", file, 1));
	SHOW(write(pair[0], "behind", 6));
	SHOW(pass(pair[0], "again", file, 1));
	for (int at = 0; at < 4; at++) {
		take(pair[1], 32, sizeof control, MSG_DONTWAIT);
	}
	/* The end of a pipe on its way keeps the pipe open, until the socket is closed. */
	SHOW(pipe(ends));
	SHOW(pass(pair[0], "pipe", ends[1], 1));
	close(ends[1]);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	SHOW(read(ends[0], bytes, 1));
	SHOW(socketpair(AF_UNIX, kind, 0, more));
	SHOW(pass(more[0], "nested", pair[1], 1));
	close(pair[1]);
	SHOW(read(ends[0], bytes, 1));
	close(more[0]);
	close(more[1]);
	SHOW(read(ends[0], bytes, 1));
	close(pair[0]);
	close(ends[0]);
	close(file);
	/* Sockets in sockets, deeply. */
	int inner = open("/dev/null", O_RDONLY);
	for (int at = 0; at < 200; at++) {
		socketpair(AF_UNIX, kind, 0, more);
		if (pass(more[0], "x", inner, 1) != 1)
			puts("not passed");
		close(inner);
		close(more[0]);
		inner = more[1];
	}
	SHOW(close(inner));
}

static void who(int kind)
{
	int on = 1;
	struct ucred told = { 1, 2, 3 };
	socklen_t len = sizeof told;
	struct iovec part = { "hi", 2 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(sizeof told) };

	printf("# who, type %d\n", kind);
	SHOW(socketpair(AF_UNIX, kind, 0, pair));
	SHOW(getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &told, &len));
	SHOW_IS(told.pid == getpid() && told.uid == geteuid() && told.gid == getegid());
	SHOW(write(pair[0], "early", 5));
	SHOW(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
	SHOW(write(pair[0], "late", 4));
	take(pair[1], 32, sizeof control, 0);
	take(pair[1], 32, sizeof control, MSG_DONTWAIT);
	memset(&control, 0, sizeof control);
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_CREDENTIALS;
	header->cmsg_len = CMSG_LEN(sizeof told);
	told = (struct ucred){ getpid(), getuid(), getgid() };
	memcpy(CMSG_DATA(header), &told, sizeof told);
	SHOW(sendmsg(pair[0], &message, 0));
	take(pair[1], 32, sizeof control, 0);
	SHOW(sendmsg(pair[0], &message, 0));
	take(pair[1], 32, CMSG_LEN(4), 0);
	header->cmsg_len = 3;
	SHOW(sendmsg(pair[0], &message, 0));
	header->cmsg_len = CMSG_LEN(4);
	SHOW(sendmsg(pair[0], &message, 0));
	header->cmsg_type = 77;
	SHOW(sendmsg(pair[0], &message, 0));
	close(pair[0]);
	close(pair[1]);
	int single = socket(AF_UNIX, kind, 0);
	SHOW(getsockopt(single, SOL_SOCKET, SO_PEERCRED, &told, &len));
	SHOW_IS(told.pid == 0 && told.uid == (uid_t)-1 && told.gid == (gid_t)-1);
	close(single);
}

static void packets(void)
{
	struct sockaddr_un name = { AF_UNIX, "/tmp/packets" };
	int listener, client, side;

	puts("# packets");
	unlink(name.sun_path);
	SHOW_DONE(listener = socket(AF_UNIX, SOCK_SEQPACKET, 0));
	SHOW_DONE(client = socket(AF_UNIX, SOCK_SEQPACKET, 0));
	events(client);
	SHOW(recv(client, bytes, 1, 0));
	SHOW(send(client, bytes, 1, MSG_NOSIGNAL));
	SHOW(bind(listener, (struct sockaddr *)&name, sizeof name));
	SHOW(connect(client, (struct sockaddr *)&name, sizeof name));
	SHOW(listen(listener, 3));
	SHOW(connect(client, (struct sockaddr *)&name, sizeof name));
	SHOW(send(client, "ab", 2, 0));
	SHOW(send(client, "", 0, 0));
	SHOW(send(client, "cdef", 4, 0));
	SHOW_DONE(side = accept(listener, NULL, NULL));
	SHOW(read(side, bytes, 10));
	SHOW(read(side, bytes, 10));
	SHOW(recv(side, bytes, 2, MSG_PEEK | MSG_TRUNC));
	SHOW(recv(side, bytes, 2, 0));
	SHOW(recv(side, bytes, 2, MSG_DONTWAIT));
	events(side);
	SHOW(shutdown(client, SHUT_WR));
	SHOW(read(side, bytes, 2));
	events(side);
	events(client);
	SHOW(send(side, "x", 1, 0));
	close(side);
	SHOW(read(client, bytes, 2));
	SHOW(read(client, bytes, 2));
	events(client);
	SHOW(send(client, "x", 1, 0));
	close(client);
	int stream = socket(AF_UNIX, SOCK_STREAM, 0);
	SHOW(connect(stream, (struct sockaddr *)&name, sizeof name));
	close(stream);
	close(listener);
	unlink(name.sun_path);
}

static void streams(void)
{
	struct timeval time = { 0, 30000 };
	struct iovec part = { bytes, 8 };
	struct mmsghdr many[3] = { { { .msg_iov = &part, .msg_iovlen = 1 } }, { { .msg_iov = &part, .msg_iovlen = 1 } },
				   { { .msg_iov = &part, .msg_iovlen = 1 } } };
	int count, value;
	socklen_t len = sizeof value;

	puts("# flags");
	SHOW(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	SHOW(recv(pair[0], bytes, 1, MSG_DONTWAIT));
	if (fork() == 0) {
		for (int at = 0; at < 3; at++) {
			usleep(5000);
			write(pair[1], "part", 4);
		}
		_exit(0);
	}
	SHOW(recv(pair[0], bytes, 12, MSG_WAITALL));
	wait(NULL);
	SHOW(write(pair[1], "peeked", 6));
	SHOW(recv(pair[0], bytes, 3, MSG_PEEK));
	SHOW(recv(pair[0], bytes, 10, MSG_PEEK));
	SHOW(ioctl(pair[0], FIONREAD, &count));
	SHOW(count);
	SHOW(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
	SHOW(recv(pair[0], bytes, 10, MSG_WAITALL));
	SHOW(recv(pair[0], bytes, 10, 0));
	SHOW(sendmmsg(pair[1], many, 3, 0));
	SHOW(recvmmsg(pair[0], many, 3, MSG_WAITFORONE, NULL));
	SHOW(many[0].msg_len);
	SHOW(sendto(pair[1], "x", 1, 0, (struct sockaddr *)bytes, 16));
	while (recv(pair[0], bytes, sizeof bytes, MSG_DONTWAIT) > 0)
		;
	/* Closed with bytes that were not read. */
	SHOW(write(pair[1], "lost", 4));
	SHOW(write(pair[0], "kept", 4));
	close(pair[0]);
	SHOW(read(pair[1], bytes, 10));
	SHOW(read(pair[1], bytes, 10));
	events(pair[1]);
	SHOW(write(pair[1], "x", 1));
	close(pair[1]);
	puts("# options");
	SHOW(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	for (int option = 1; option < 40; option++) {
		if (option == SO_ERROR || option == 17 || (option > 22 && option < 30) || (option > 30 && option < 38 && option != 32))
			continue;
		value = 0, len = 4;
		int result = getsockopt(pair[0], SOL_SOCKET, option, &value, &len);
		printf("option %d: %s, %d, %u bytes\n", option, result ? error_name(errno) : "0", value, len);
	}
	value = 1;
	SHOW(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &value, sizeof value));
	SHOW(getsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &value, &len));
	SHOW(value);
	SHOW(send(pair[0], bytes, 4096, MSG_DONTWAIT) > 0);
	SHOW(send(pair[0], bytes, 4096, MSG_DONTWAIT));
	SHOW(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &value, 2));
	SHOW(recv(pair[1], bytes, 1, 0));
	SHOW(shutdown(pair[1], SHUT_RD));
	SHOW(send(pair[0], bytes, 1, 0));
	SHOW(shutdown(pair[0], SHUT_WR));
	events(pair[0]);
	events(pair[1]);
	SHOW(shutdown(pair[0], 3));
	SHOW(recv(pair[1], bytes, 1, MSG_DONTWAIT));
	SHOW(recv(pair[1], bytes, 1, MSG_DONTWAIT));
	close(pair[0]);
	close(pair[1]);
	int single = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un name = { AF_UNIX };
	SHOW(shutdown(single, SHUT_RDWR));
	events(single);
	SHOW(bind(single, (struct sockaddr *)&name, sizeof(sa_family_t)));
	len = sizeof name;
	SHOW(getsockname(single, (struct sockaddr *)&name, &len));
	SHOW(len);
	close(single);
}

int main(void)
{
	signal(SIGPIPE, on_signal);
	alarm(100);
	files_of(SOCK_STREAM);
	files_of(SOCK_DGRAM);
	files_of(SOCK_SEQPACKET);
	who(SOCK_STREAM);
	who(SOCK_DGRAM);
	packets();
	streams();
	return 0;
}
