/* Sockets with names: streams that are accepted, and messages. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "show.h"

static struct sockaddr_un name;
static socklen_t name_len;

static socklen_t length(const char *path)
{
	return offsetof(struct sockaddr_un, sun_path) + strlen(path) + (path[0] != '@');
}

/* A path, or with @ in front an abstract name. */
static struct sockaddr *named(const char *path)
{
	memset(&name, 0, sizeof name);
	name.sun_family = AF_UNIX;
	strcpy(name.sun_path, path);
	if (path[0] == '@')
		name.sun_path[0] = 0;
	return (struct sockaddr *)&name;
}

#define NAMED(path) named(path), length(path)

static void show_name(const char *what, int result)
{
	if (result == -1) {
		printf("%s: %s\n", what, error_name(errno));
		return;
	}
	if (name.sun_path[0] == 0 && name_len > 2)
		name.sun_path[0] = '@';
	printf("%s: %u bytes, %.*s\n", what, name_len, name_len > 2 ? (int)name_len - 2 : 0, name.sun_path);
}

static void show_names(int socket)
{
	name_len = sizeof name;
	show_name("own", getsockname(socket, (struct sockaddr *)&name, &name_len));
	name_len = sizeof name;
	show_name("peer", getpeername(socket, (struct sockaddr *)&name, &name_len));
}

static int option(int socket, int which)
{
	int value = -1;
	socklen_t len = sizeof value;

	getsockopt(socket, SOL_SOCKET, which, &value, &len);
	return value;
}

static void events(int socket)
{
	struct pollfd ready = { .fd = socket, .events = POLLIN | POLLOUT };

	poll(&ready, 1, 0);
	printf("events %x\n", ready.revents);
}

static void streams(const char *path)
{
	int listener, first, second, side, status;
	struct stat stat;
	char bytes[16];

	SHOW_IS((listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) >= 0);
	SHOW_IS((first = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)) >= 0);
	SHOW_IS((second = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)) >= 0);
	events(first);
	SHOW(read(first, bytes, 1));
	SHOW(send(first, "x", 1, MSG_NOSIGNAL));
	SHOW(connect(first, NAMED(path)));
	SHOW(listen(listener, 0));
	SHOW(bind(listener, NAMED(path)));
	SHOW(bind(listener, NAMED("@again")));
	SHOW(bind(second, NAMED(path)));
	SHOW(connect(first, NAMED(path)));
	SHOW(accept(first, NULL, NULL));
	SHOW(listen(listener, 0));
	SHOW(option(listener, SO_ACCEPTCONN));
	SHOW(option(first, SO_ACCEPTCONN));
	SHOW(option(listener, SO_TYPE));
	SHOW(option(listener, SO_DOMAIN));
	if (path[0] != '@') {
		SHOW(lstat(path, &stat));
		SHOW_IS(S_ISSOCK(stat.st_mode));
		SHOW(open(path, O_RDONLY));
	}
	events(listener);
	SHOW(connect(first, NAMED(path)));
	SHOW(connect(first, NAMED(path)));
	events(listener);
	/* One waits already. */
	SHOW(connect(second, NAMED(path)));
	SHOW(write(first, "before", 6));
	name_len = sizeof name;
	SHOW_IS((side = accept4(listener, (struct sockaddr *)&name, &name_len, SOCK_CLOEXEC)) >= 0);
	printf("%u bytes of a name\n", name_len);
	SHOW(fcntl(side, F_GETFD));
	SHOW(read(side, bytes, sizeof bytes));
	SHOW(recv(side, bytes, 4, MSG_DONTWAIT));
	SHOW(write(side, "answer", 6));
	SHOW(recv(first, bytes, 3, MSG_PEEK));
	SHOW(recv(first, bytes, sizeof bytes, 0));
	SHOW(memcmp(bytes, "answer", 6));
	show_names(first);
	show_names(side);
	show_names(listener);
	SHOW(shutdown(side, SHUT_WR));
	SHOW(read(first, bytes, 1));
	events(first);
	SHOW(write(first, "more", 4));
	SHOW(read(side, bytes, sizeof bytes));
	close(side);
	SHOW(send(first, "x", 1, MSG_NOSIGNAL));
	close(first);
	SHOW(fcntl(listener, F_SETFL, O_NONBLOCK));
	SHOW(accept(listener, NULL, NULL));
	SHOW(fcntl(listener, F_SETFL, 0));
	/* An accept that waits, and a child that connects. */
	pid_t child = fork();
	if (child == 0) {
		fcntl(second, F_SETFL, 0);
		usleep(20000);
		_exit(connect(second, NAMED(path)) == 0 && write(second, "hello", 5) == 5 ? 0 : 1);
	}
	SHOW_IS((side = accept(listener, NULL, NULL)) >= 0);
	SHOW(read(side, bytes, sizeof bytes));
	waitpid(child, &status, 0);
	SHOW(status);
	close(second);
	SHOW(read(side, bytes, sizeof bytes));
	close(side);
	close(listener);
	SHOW_IS((first = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	SHOW(connect(first, NAMED(path)));
	SHOW(bind(first, NAMED(path)));
	close(first);
	if (path[0] != '@')
		SHOW(unlink(path));
}

static void messages(void)
{
	struct iovec parts[2] = { { "one", 3 }, { "two", 3 } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
	int first, second, third, pair[2];
	char bytes[16];

	SHOW_IS((first = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)) >= 0);
	SHOW_IS((second = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)) >= 0);
	SHOW_IS((third = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)) >= 0);
	SHOW(listen(first, 1));
	SHOW(write(first, "x", 1));
	SHOW(sendto(first, "x", 1, 0, NAMED("messages")));
	SHOW(bind(second, NAMED("messages")));
	SHOW(sendto(first, "hello", 5, 0, NAMED("messages")));
	SHOW(sendto(first, "", 0, 0, NAMED("messages")));
	events(second);
	SHOW(recv(second, bytes, 2, MSG_PEEK));
	name_len = sizeof name;
	SHOW(recvfrom(second, bytes, 2, MSG_TRUNC, (struct sockaddr *)&name, &name_len));
	printf("%u bytes of a name\n", name_len);
	SHOW(recv(second, bytes, sizeof bytes, 0));
	SHOW(recv(second, bytes, sizeof bytes, 0));
	events(second);
	SHOW(bind(first, NAMED("@first")));
	SHOW(connect(first, NAMED("messages")));
	SHOW(sendmsg(first, &message, 0));
	message.msg_name = &name;
	message.msg_namelen = sizeof name;
	parts[0] = (struct iovec){ bytes, 2 };
	parts[1] = (struct iovec){ bytes + 2, 2 };
	SHOW(recvmsg(second, &message, 0));
	SHOW_IS(memcmp(bytes, "onet", 4) == 0);
	SHOW(message.msg_flags == MSG_TRUNC);
	name_len = message.msg_namelen;
	show_name("sender", 0);
	show_names(first);
	/* One that has a peer hears no other. */
	SHOW(connect(second, NAMED("@first")));
	SHOW(sendto(third, "x", 1, 0, NAMED("messages")));
	int sent = 0;
	while (send(first, "x", 1, 0) == 1)
		sent++;
	printf("some fit: %d: %s\n", sent > 0, error_name(errno));
	close(second);
	SHOW(send(first, "x", 1, 0));
	SHOW(unlink("messages"));
	SHOW(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	SHOW(write(pair[0], "a", 1));
	SHOW(write(pair[0], "bc", 2));
	SHOW(read(pair[1], bytes, sizeof bytes));
	SHOW(read(pair[1], bytes, sizeof bytes));
	SHOW(send(pair[1], "x", 1, MSG_NOSIGNAL));
	SHOW(connect(first, NAMED("@nothing")));
}

int main(void)
{
	int file = open("/dev/null", O_RDWR);

	SHOW_DONE(socket(AF_UNIX, 77, 0));
	SHOW_DONE(socket(AF_UNIX, SOCK_STREAM, 9));
	SHOW_DONE(socket(12345, SOCK_STREAM, 0));
	SHOW(listen(file, 1));
	SHOW(bind(99, NAMED("x")));
	SHOW(bind(file, NAMED("x")));
	streams("stream");
	streams("@stream");
	messages();
	return 0;
}
