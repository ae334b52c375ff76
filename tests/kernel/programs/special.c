/* Names of other things than files and directories: FIFOs, devices, places without contents
 * (O_PATH), open files under /proc. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "show.h"

static int kind_of(const char *path)
{
	struct stat told;

	return lstat(path, &told) ? 0 : (int)(told.st_mode & S_IFMT) >> 12;
}

static void fifos(void)
{
	char byte = 'x';
	int status, reader, writer;
	struct pollfd ready = { .events = POLLIN };

	SHOW(mkfifo("fifo", 0600));
	SHOW(mkfifo("fifo", 0600));
	SHOW(kind_of("fifo"));
	SHOW(open("fifo", O_WRONLY | O_NONBLOCK));
	SHOW_DONE(reader = open("fifo", O_RDONLY | O_NONBLOCK));
	SHOW(read(reader, &byte, 1));
	ready.fd = reader;
	SHOW(poll(&ready, 1, 0));
	SHOW_DONE(writer = open("fifo", O_WRONLY));
	SHOW(read(reader, &byte, 1));
	SHOW(write(writer, "ab", 2));
	SHOW(read(reader, &byte, 1));
	SHOW_IS(byte == 'a');
	close(writer);
	SHOW(poll(&ready, 1, 0));
	SHOW(ready.revents);
	SHOW(read(reader, &byte, 1));
	SHOW(read(reader, &byte, 1));
	SHOW(lseek(reader, 0, SEEK_SET));
	SHOW(pread(reader, &byte, 1, 0));
	SHOW(ftruncate(reader, 0));
	SHOW(truncate("fifo", 0));
	close(reader);
	/* Each end waits for the other. */
	if (fork() == 0) {
		writer = open("fifo", O_WRONLY);
		_exit(write(writer, "q", 1) != 1);
	}
	SHOW_DONE(reader = open("fifo", O_RDONLY));
	SHOW(read(reader, &byte, 1));
	SHOW_IS(byte == 'q');
	wait(&status);
	SHOW(status);
	close(reader);
	SHOW_DONE(reader = open("fifo", O_RDWR));
	SHOW(write(reader, "z", 1));
	SHOW(read(reader, &byte, 1));
	close(reader);
	SHOW(unlink("fifo"));
	SHOW(mknod("fifo", S_IFIFO | 0600, 0));
	SHOW(rename("fifo", "other"));
	SHOW(kind_of("other"));
	SHOW(unlink("other"));
	SHOW(mknod("file", 0600, 0));
	SHOW(kind_of("file"));
	SHOW(mknod("folder", S_IFDIR | 0600, 0));
	SHOW(mknod("file", S_IFIFO | 0600, 0));
}

static void capacity(void)
{
	int ends[2], bytes;

	SHOW(pipe(ends));
	SHOW(fcntl(ends[0], F_GETPIPE_SZ));
	SHOW(fcntl(ends[1], F_SETPIPE_SZ, 5000));
	SHOW(write(ends[1], "12345", 5));
	SHOW(ioctl(ends[0], FIONREAD, &bytes));
	SHOW(bytes);
	SHOW(fcntl(1000, F_GETPIPE_SZ));
	close(ends[0]);
	signal(SIGPIPE, SIG_IGN);
	SHOW(write(ends[1], "1", 1));
	SHOW(write(ends[1], "", 0));
	close(ends[1]);
	SHOW(pipe2(ends, 0x80000000));
}

static void places(void)
{
	char byte, text[64];
	struct stat told;
	int place, file;

	SHOW_DONE(file = open("file", O_RDWR));
	SHOW(write(file, "abc", 3));
	SHOW_DONE(place = open("file", O_PATH));
	SHOW(read(place, &byte, 1));
	SHOW(write(place, &byte, 1));
	SHOW(pread(place, &byte, 1, 0));
	SHOW(lseek(place, 0, SEEK_SET));
	SHOW(ftruncate(place, 0));
	SHOW(fchmod(place, 0600));
	SHOW(fsync(place));
	SHOW(fstat(place, &told));
	SHOW(told.st_size);
	SHOW(fcntl(place, F_GETFD));
	SHOW_IS(fcntl(place, F_GETFL) & O_PATH);
	SHOW(fcntl(place, F_SETFL, O_NONBLOCK));
	SHOW(openat(place, "x", O_RDONLY));
	close(place);
	SHOW(symlink("file", "link"));
	SHOW_DONE(place = open("link", O_PATH | O_NOFOLLOW));
	SHOW(readlinkat(place, "", text, sizeof text));
	close(place);
	SHOW_DONE(place = open(".", O_PATH));
	SHOW_DONE(openat(place, "file", O_RDONLY));
	SHOW(fchdir(place));
	close(place);
	SHOW(fstatat(file, "", &told, 0));
	SHOW(fstatat(file, "", &told, AT_EMPTY_PATH));
	SHOW(fstatat(file, "x", &told, 0));
	SHOW(fstatat(AT_FDCWD, "file", &told, 0x40000000));
	close(file);
}

static void open_files(void)
{
	char path[64], text[64], byte = 0;
	ssize_t len;
	int file, again;

	SHOW_DONE(file = open("gone", O_RDWR | O_CREAT, 0600));
	SHOW(write(file, "xyz", 3));
	SHOW(unlink("gone"));
	snprintf(path, sizeof path, "/proc/self/fd/%d", file);
	len = readlink(path, text, sizeof text - 1);
	text[len > 0 ? len : 0] = 0;
	SHOW_IS(strstr(text, "gone (deleted)") != NULL);
	SHOW_DONE(again = open(path, O_RDONLY));
	SHOW(read(again, &byte, 1));
	SHOW_IS(byte == 'x');
	SHOW(write(again, "1", 1));
	close(again);
	snprintf(path, sizeof path, "/dev/fd/%d", file);
	SHOW_DONE(again = open(path, O_WRONLY | O_TRUNC));
	SHOW(lseek(file, 0, SEEK_END));
	close(again);
	close(file);
	SHOW(open(path, O_RDONLY));
	SHOW(open("/proc/self/nothing", O_RDONLY));
	SHOW(open("/proc/self/maps", O_RDONLY | O_DIRECTORY));
	SHOW(mkdir("/proc/x", 0700));
	SHOW(rmdir("/proc/self"));
	/* A file without a name, which gets one. */
	SHOW_DONE(file = open(".", O_TMPFILE | O_RDWR, 0600));
	SHOW(write(file, "made", 4));
	snprintf(path, sizeof path, "/proc/self/fd/%d", file);
	SHOW(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	SHOW(kind_of("named"));
	SHOW(linkat(AT_FDCWD, "named", AT_FDCWD, "again", 0x80));
	close(file);
}

/* A line of what is told of a descriptor. */
static void tell(int file, const char *what)
{
	char path[64], text[512], *line;
	int told;

	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", file);
	told = open(path, O_RDONLY);
	text[read(told, text, sizeof text - 1)] = 0;
	close(told);
	line = strstr(text, what);
	/* O_LARGEFILE is not told everywhere. */
	if (strcmp(what, "flags:") == 0)
		printf("%s %lo\n", what, strtol(line + 6, NULL, 8) & ~0100000);
	else
		printf("%s %ld\n", what, strtol(line + strlen(what), NULL, 10));
}

static void told(void)
{
	int file = open("told", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600), ends[2];
	unsigned long words[64] = {0}, own[2] = {0};
	struct stat status;
	int auxiliary = open("/proc/self/auxv", O_RDONLY);
	ssize_t len = read(auxiliary, words, sizeof words);

	puts("# told of descriptors, and of the program");
	SHOW(write(file, "abcdef", 6));
	SHOW(lseek(file, 3, SEEK_SET));
	tell(file, "pos:");
	tell(file, "flags:");
	SHOW(pipe(ends));
	tell(ends[0], "pos:");
	tell(ends[1], "flags:");
	SHOW(stat("/proc/self/fdinfo", &status));
	SHOW(S_ISDIR(status.st_mode));
	SHOW(stat("/proc/self/fdinfo/0", &status));
	SHOW(status.st_mode);
	SHOW(open("/proc/self/fdinfo/900", O_RDONLY));
	unlink("told");
	for (int at = 0; at < len / 8; at += 2)
		if (words[at] == AT_PAGESZ)
			own[0] = words[at + 1];
		else if (words[at] == AT_ENTRY)
			own[1] = words[at + 1];
	SHOW(own[0]);
	SHOW_IS(own[1] == getauxval(AT_ENTRY));
	SHOW(words[len / 8 - 2]);
	close(auxiliary);
	close(file);
	close(ends[0]);
	close(ends[1]);
}

static void devices(void)
{
	char byte = 'x';
	struct stat told;
	int null, zero;

	SHOW_DONE(null = open("/dev/null", O_RDWR));
	SHOW_DONE(zero = open("/dev/zero", O_RDWR));
	SHOW(fstat(zero, &told));
	SHOW(major(told.st_rdev) * 256 + minor(told.st_rdev));
	SHOW(told.st_mode >> 12);
	SHOW(pread(zero, &byte, 1, 100));
	SHOW_IS(byte == 0);
	SHOW(pwrite(null, "abc", 3, 100));
	SHOW(read(null, &byte, 1));
	SHOW(ftruncate(null, 0));
	SHOW(fsync(null));
	SHOW(fallocate(null, 0, 0, 1));
	SHOW(open("/dev/null", O_RDONLY | O_DIRECTORY));
	SHOW(pwrite(null, "abc", 3, -1));
	close(null);
	close(zero);
}

static void directories(void)
{
	char byte;
	int folder;

	SHOW_DONE(folder = open(".", O_RDONLY));
	SHOW(read(folder, &byte, 1));
	SHOW(pread(folder, &byte, 1, 0));
	SHOW(write(folder, &byte, 1));
	SHOW(pwrite(folder, &byte, 1, 0));
	SHOW(ftruncate(folder, 0));
	SHOW(truncate(".", 0));
	SHOW(truncate("file", -1));
	SHOW(readahead(folder, 0, 1));
	close(folder);
}

int main(void)
{
	umask(0);
	fifos();
	capacity();
	places();
	open_files();
	told();
	devices();
	directories();
	return 0;
}
