/* inotify: which events a watch brings, and what the calls check. */
#include "show.h"
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static int queue;
static unsigned int last_cookie;

/* Prints the events that have come, in order. Cookies are told as far as they are equal. */
static void events(const char *after)
{
	char bytes[8192] __attribute__((aligned(8)));
	ssize_t len = read(queue, bytes, sizeof bytes);

	printf("%s:\n", after);
	if (len < 0) {
		printf("  %s\n", error_name(errno));
		return;
	}
	for (char *at = bytes; at < bytes + len;) {
		struct inotify_event *event = (struct inotify_event *)at;
		const char *pair = event->cookie == 0 ? "" : event->cookie == last_cookie ? " (same)" : " (new)";

		printf("  %d %#x \"%s\" %d%s\n", event->wd, event->mask, event->len ? event->name : "", event->len, pair);
		if (event->cookie)
			last_cookie = event->cookie;
		at += sizeof *event + event->len;
	}
}
#define AFTER(call) do { SHOW_DONE(call); events(#call); } while (0)

static void checks(void)
{
	int bytes;

	puts("# checks");
	SHOW(inotify_init1(0x10));
	SHOW_DONE(queue = inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
	SHOW(fcntl(queue, F_GETFD));
	SHOW_IS(fcntl(queue, F_GETFL) & O_NONBLOCK);
	SHOW(inotify_add_watch(queue, "none", IN_ALL_EVENTS));
	SHOW(inotify_add_watch(queue, "d", 0));
	SHOW(inotify_add_watch(queue, "d", IN_MASK_CREATE | IN_MASK_ADD | IN_OPEN));
	SHOW(inotify_add_watch(-1, "d", IN_OPEN));
	SHOW(inotify_add_watch(0, "d", IN_OPEN));
	SHOW(inotify_add_watch(queue, (char *)1, IN_OPEN));
	SHOW(inotify_add_watch(queue, "", IN_OPEN));
	SHOW(inotify_add_watch(queue, "d/f", IN_OPEN | IN_ONLYDIR));
	SHOW(inotify_rm_watch(queue, 1));
	SHOW(inotify_rm_watch(-1, 1));
	SHOW(inotify_rm_watch(0, 1));
	SHOW(read(queue, &bytes, 4));
	SHOW(write(queue, &bytes, 4));
	SHOW(lseek(queue, 0, SEEK_SET));
	SHOW(ioctl(queue, FIONREAD, &bytes));
	SHOW(bytes);
	SHOW(inotify_add_watch(queue, "d", IN_OPEN));
	SHOW(inotify_add_watch(queue, "d", IN_OPEN));
	SHOW(inotify_add_watch(queue, "d/../d", IN_CREATE));
	SHOW(inotify_add_watch(queue, "d", IN_CREATE | IN_MASK_CREATE));
	SHOW(inotify_add_watch(queue, "d/f", IN_ATTRIB));
	SHOW(inotify_rm_watch(queue, 1));
	events("rm_watch");
	SHOW(inotify_rm_watch(queue, 1));
	SHOW(inotify_rm_watch(queue, 2));
	events("rm_watch");
}

static void folder(void)
{
	int file;
	char byte;
	struct stat told;
	char *page;

	puts("# folder");
	SHOW(inotify_add_watch(queue, "d", IN_ALL_EVENTS));
	AFTER(file = open("d/new", O_CREAT | O_RDWR, 0600));
	AFTER(write(file, "abc", 3));
	AFTER(write(file, "", 0));
	AFTER(pread(file, &byte, 1, 0));
	AFTER(pread(file, &byte, 1, 100));
	AFTER(ftruncate(file, 100));
	AFTER(ftruncate(file, 100));
	AFTER(fallocate(file, 0, 0, 200));
	AFTER(fchmod(file, 0644));
	AFTER(fchown(file, getuid(), -1));
	AFTER(futimens(file, NULL));
	AFTER(fsync(file));
	AFTER(fstat(file, &told));
	AFTER(dup(file));
	AFTER(fsetxattr(file, "user.a", "x", 1, 0));
	AFTER(fremovexattr(file, "user.a"));
	page = mmap(NULL, 100, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	events("mmap");
	page[0] = 'x';
	events("store");
	munmap(page, 100);
	AFTER(close(file + 1));
	AFTER(close(file));
	AFTER(file = open("d/new", O_RDONLY));
	AFTER(close(file));
	AFTER(file = open("d/new", O_RDWR | O_TRUNC));
	AFTER(close(file));
	AFTER(file = open("d/new", O_PATH));
	AFTER(close(file));
	AFTER(truncate("d/new", 5));
	AFTER(chmod("d/new", 0600));
	AFTER(access("d/new", F_OK));
	AFTER(rename("d/new", "d/other"));
	AFTER(rename("d/other", "e/out"));
	AFTER(rename("e/out", "d/back"));
	AFTER(link("d/back", "d/second"));
	AFTER(unlink("d/second"));
	AFTER(unlink("d/back"));
	AFTER(mkdir("d/sub", 0700));
	AFTER(chmod("d/sub", 0755));
	AFTER(file = open("d/sub", O_RDONLY));
	AFTER(close(file));
	AFTER(rename("d/sub", "d/moved"));
	AFTER(rmdir("d/moved"));
	AFTER(symlink("x", "d/link"));
	AFTER(unlink("d/link"));
	AFTER(mkfifo("d/fifo", 0600));
	AFTER(file = open("d/fifo", O_RDWR));
	AFTER(write(file, "x", 1));
	AFTER(read(file, &byte, 1));
	AFTER(close(file));
	AFTER(unlink("d/fifo"));
	AFTER(chmod("d", 0755));
	DIR *list = opendir("d");
	events("opendir");
	while (readdir(list))
		;
	events("readdir");
	closedir(list);
	events("closedir");
	close(creat("d/a", 0600));
	close(creat("d/b", 0600));
	events("two files");
	AFTER(rename("d/a", "d/b"));
	AFTER(unlink("d/b"));
	AFTER(open("d/none", O_RDONLY));
}

static void ends(void)
{
	int file, one, two;
	char byte;

	puts("# ends");
	close(creat("w", 0600));
	SHOW_DONE(one = inotify_add_watch(queue, "w", IN_ALL_EVENTS));
	AFTER(file = open("w", O_RDWR));
	AFTER(write(file, "x", 1));
	AFTER(link("w", "w2"));
	AFTER(rename("w", "w3"));
	AFTER(unlink("w2"));
	AFTER(unlink("w3"));
	AFTER(read(file, &byte, 1));
	AFTER(close(file));
	SHOW(inotify_rm_watch(queue, one));
	close(creat("w", 0600));
	SHOW_DONE(inotify_add_watch(queue, "w", IN_OPEN | IN_ONESHOT));
	AFTER(file = open("w", O_RDONLY));
	close(file);
	AFTER(file = open("w", O_RDONLY));
	close(file);
	SHOW_DONE(one = inotify_add_watch(queue, "w", IN_CLOSE_WRITE));
	SHOW_DONE(two = inotify_add_watch(queue, "w", IN_OPEN | IN_MASK_ADD));
	SHOW_IS(one == two);
	AFTER(close(open("w", O_WRONLY)));
	SHOW_DONE(inotify_add_watch(queue, "w", IN_DELETE_SELF));
	AFTER(close(open("w", O_WRONLY)));
	close(creat("w4", 0600));
	events("creat");
	AFTER(rename("w4", "w"));
	AFTER(unlink("w"));
	mkdir("gone", 0700);
	SHOW_DONE(inotify_add_watch(queue, "gone", IN_ALL_EVENTS));
	AFTER(rename("gone", "gone2"));
	AFTER(rmdir("gone2"));
	symlink("d", "sl");
	SHOW_DONE(one = inotify_add_watch(queue, "sl", IN_ALL_EVENTS | IN_DONT_FOLLOW));
	SHOW_DONE(two = inotify_add_watch(queue, "sl", IN_ALL_EVENTS));
	SHOW_IS(one != two);
	AFTER(unlink("sl"));
	/* The same event twice in a row is one. */
	close(creat("w", 0600));
	SHOW_DONE(inotify_add_watch(queue, "w", IN_MODIFY | IN_ACCESS));
	file = open("w", O_RDWR);
	write(file, "a", 1);
	write(file, "b", 1);
	pread(file, &byte, 1, 0);
	write(file, "c", 1);
	events("writes");
	/* A watch with names that were unlinked (IN_EXCL_UNLINK). */
	SHOW_DONE(inotify_add_watch(queue, "e", IN_ALL_EVENTS | IN_EXCL_UNLINK));
	int other = open("e/u", O_CREAT | O_RDWR, 0600);
	unlink("e/u");
	events("unlinked");
	AFTER(write(other, "x", 1));
	close(other);
	events("close");
	close(file);
	unlink("w");
	events("end");
}

static void waits(void)
{
	struct pollfd ready = {.fd = queue, .events = POLLIN | POLLOUT};
	char bytes[64];
	int room;

	puts("# waits");
	SHOW(poll(&ready, 1, 0));
	close(creat("d/p", 0600));
	SHOW(poll(&ready, 1, 0));
	SHOW(ready.revents);
	SHOW(ioctl(queue, FIONREAD, &room));
	SHOW(room);
	SHOW(read(queue, bytes, 10));
	SHOW(read(queue, bytes, 40));
	SHOW(read(queue, bytes, 64));
	events("rest");
	unlink("d/p");
	events("unlink");
	int set = epoll_create1(0);
	struct epoll_event event = {.events = EPOLLIN};
	SHOW(epoll_ctl(set, EPOLL_CTL_ADD, queue, &event));
	SHOW(epoll_wait(set, &event, 1, 0));
	close(creat("d/q", 0600));
	SHOW(epoll_wait(set, &event, 1, 1000));
	events("creat");
	/* A reader that waits. */
	fcntl(queue, F_SETFL, 0);
	if (fork() == 0) {
		usleep(20000);
		unlink("d/q");
		_exit(0);
	}
	events("unlink by another");
	wait(NULL);
	fcntl(queue, F_SETFL, O_NONBLOCK);
	/* More than the queue holds. */
	int file = open("d/x", O_CREAT | O_RDWR, 0600);
	events("x");
	for (int i = 0; i < 10000; i++) {
		pwrite(file, "x", 1, 0);
		pread(file, bytes, 1, 0);
	}
	long count = 0, overflow = 0;
	char many[4096] __attribute__((aligned(8)));
	ssize_t len;
	while ((len = read(queue, many, sizeof many)) > 0)
		for (char *at = many; at < many + len; count++) {
			struct inotify_event *one = (struct inotify_event *)at;
			if (one->mask & IN_Q_OVERFLOW) {
				overflow++;
				SHOW(one->wd);
			}
			at += sizeof *one + one->len;
		}
	SHOW(count);
	SHOW(overflow);
	close(file);
	unlink("d/x");
	close(queue);
}

int main(void)
{
	umask(022);
	mkdir("d", 0755);
	mkdir("e", 0755);
	close(creat("d/f", 0600));
	checks();
	folder();
	ends();
	waits();
	unlink("d/f");
	rmdir("d");
	return rmdir("e");
}
