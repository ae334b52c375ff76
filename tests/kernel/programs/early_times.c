/* Times before 1970, and who keeps the set-id bits of a file that it writes. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "show.h"

static void show_times(const char *path)
{
	struct stat told;

	SHOW(stat(path, &told));
	printf("  %lld.%09ld, %lld.%09ld\n", (long long)told.st_atim.tv_sec, told.st_atim.tv_nsec,
	       (long long)told.st_mtim.tv_sec, told.st_mtim.tv_nsec);
}

static void show_mode(const char *path)
{
	struct stat told;

	stat(path, &told);
	printf("  mode %o\n", told.st_mode & 07777);
}

static void write_it(const char *path)
{
	int file = open(path, O_WRONLY);

	SHOW(pwrite(file, "x", 1, 0));
	close(file);
	show_mode(path);
}

int main(void)
{
	struct timespec early[] = { { -5, 7 }, { -1000000000, 999999999 } };
	struct timespec late[] = { { 2000000000, 1 }, { 2147483647, 2 } };
	int status, file = open("early", O_CREAT | O_TRUNC | O_RDWR, 0666);

	SHOW(write(file, "abc", 3));
	SHOW(utimensat(AT_FDCWD, "early", early, 0));
	show_times("early");
	SHOW(fsync(file));
	show_times("early");
	SHOW(utimensat(AT_FDCWD, "early", late, 0));
	show_times("early");
	early[1].tv_nsec = UTIME_OMIT;
	SHOW(utimensat(AT_FDCWD, "early", early, 0));
	show_times("early");

	SHOW(chmod("early", 06777));
	write_it("early");
	SHOW(truncate("early", 1));
	show_mode("early");
	if (fork() == 0) {
		if (setgid(1000) || setuid(1000))
			_exit(9);
		write_it("early");
		_exit(0);
	}
	wait(&status);
	SHOW(status);
	return 0;
}
