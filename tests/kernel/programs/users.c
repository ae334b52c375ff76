/* What users may do: run as root, which becomes another user. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "show.h"

enum { OTHER = 65534 };

static void numbers(void)
{
	uid_t real, effective, saved;

	SHOW(setreuid(-1, OTHER));
	SHOW(getresuid(&real, &effective, &saved));
	SHOW(real);
	SHOW(effective);
	SHOW(saved);
	SHOW(seteuid(0));
	SHOW(setresuid(OTHER, OTHER, 0));
	SHOW(setuid(1));
	SHOW(seteuid(0));
	SHOW(setresuid(0, 0, 0));
	SHOW(geteuid());
	gid_t groups[2] = { 7, 9 };
	SHOW(setgroups(2, groups));
	SHOW(getgroups(0, NULL));
	SHOW(getgroups(1, groups));
	SHOW(setgroups(0, NULL));
}

static void as_root(void)
{
	SHOW(mkdir("closed", 0700));
	SHOW_DONE(open("closed/file", O_CREAT | O_WRONLY, 0600));
	SHOW(mkdir("sticky", 01777));
	SHOW(chmod("sticky", 01777));
	SHOW_DONE(open("sticky/roots", O_CREAT | O_WRONLY, 0666));
	SHOW_DONE(open("own", O_CREAT | O_WRONLY, 0644));
	SHOW_DONE(open("others", O_CREAT | O_WRONLY, 0640));
	SHOW_DONE(open("group", O_CREAT | O_WRONLY, 0640));
	SHOW(chown("own", OTHER, OTHER));
	SHOW(chown("group", 0, OTHER));
	SHOW(access("others", X_OK));
	SHOW(access("others", R_OK | W_OK));
	SHOW(access("others", 8));
}

static void as_other(void)
{
	struct timespec times[2] = { { 1, 0 }, { 2, 0 } };
	struct rlimit limit;
	struct stat told;

	SHOW(setgid(OTHER));
	SHOW(setuid(OTHER));
	SHOW(setuid(0));
	SHOW(open("closed/file", O_RDONLY));
	SHOW(stat("closed/file", &told));
	SHOW(chdir("closed"));
	SHOW(open("closed", O_RDONLY));
	SHOW(open("others", O_RDONLY));
	SHOW_DONE(open("group", O_RDONLY));
	SHOW(open("group", O_RDWR));
	SHOW(open("new", O_CREAT | O_WRONLY, 0600));
	SHOW(mkdir("new", 0700));
	SHOW(symlink("x", "new"));
	SHOW(link("own", "new"));
	SHOW(unlink("own"));
	SHOW(rename("own", "new"));
	SHOW(rmdir("sticky"));
	SHOW_DONE(open("sticky/own", O_CREAT | O_WRONLY, 0600));
	SHOW(unlink("sticky/roots"));
	SHOW(rename("sticky/roots", "sticky/x"));
	SHOW(unlink("sticky/own"));
	SHOW(chmod("others", 0777));
	SHOW(chmod("own", 0600));
	SHOW(chown("own", 0, -1));
	SHOW(chown("own", -1, 0));
	SHOW(chown("own", -1, OTHER));
	SHOW(chown("others", OTHER, -1));
	SHOW(utimensat(AT_FDCWD, "others", NULL, 0));
	SHOW(utimensat(AT_FDCWD, "others", times, 0));
	SHOW(utimensat(AT_FDCWD, "own", times, 0));
	SHOW(stat("own", &told));
	SHOW(told.st_mtime);
	SHOW(utimensat(AT_FDCWD, "own", times, 0x40));
	SHOW(truncate("others", 0));
	SHOW(truncate("own", 0));
	SHOW(access("others", R_OK));
	SHOW(access("own", R_OK | W_OK));
	SHOW(access("own", X_OK));
	SHOW(open("own", O_RDONLY | O_NOATIME) >= 0);
	SHOW(open("group", O_RDONLY | O_NOATIME));
	SHOW(mknod("sticky/null", S_IFCHR | 0600, 0x103));
	SHOW(chroot("."));
	SHOW(setgroups(0, NULL));
	SHOW(kill(getppid(), 0));
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_max++;
	SHOW(setrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_max -= 2;
	limit.rlim_cur = limit.rlim_max;
	SHOW(setrlimit(RLIMIT_NOFILE, &limit));
}

/* What a stranger makes in a set-group-id directory, and what chown takes away. */
static void set_ids(void)
{
	static const int modes[] = {02755, 02745, 02777, 04755};
	struct stat told;
	char name[20];

	puts("# set-group-id of a directory");
	mkdir("handing", 0777);
	chown("handing", 0, OTHER + 7);
	chmod("handing", 02777);
	for (int who = 0; who < 2; who++) {
		if (who == 1) {
			setresgid(OTHER, OTHER, OTHER);
			setresuid(OTHER, OTHER, OTHER);
		}
		for (int at = 0; at < 4; at++) {
			snprintf(name, sizeof name, "handing/%d-%d", who, at);
			SHOW_DONE(open(name, O_CREAT | O_WRONLY, modes[at]));
			stat(name, &told);
			SHOW(told.st_mode & 07777);
			SHOW(told.st_gid == OTHER + 7);
		}
		snprintf(name, sizeof name, "handing/%d", who);
		SHOW(mkdir(name, 07777));
		stat(name, &told);
		SHOW(told.st_mode & 07777);
	}
	SHOW(chown("handing", -1, -1));
}

static void many_processes(void)
{
	struct rlimit limit = {3, 3};
	int children = 0;
	long child;

	puts("# RLIMIT_NPROC");
	setresuid(OTHER + 9, OTHER + 9, OTHER + 9);
	setrlimit(RLIMIT_NPROC, &limit);
	while ((child = fork()) > 0 && children < 10)
		children++;
	if (child == 0) {
		pause();
		_exit(0);
	}
	SHOW(child);
	SHOW(children);
	signal(SIGTERM, SIG_IGN);
	kill(-1, SIGTERM);
	while (wait(NULL) > 0)
		;
}

int main(void)
{
	int status;

	umask(0);
	chmod(".", 0755);
	numbers();
	as_root();
	if (fork() == 0) {
		as_other();
		_exit(0);
	}
	SHOW_DONE(wait(&status));
	SHOW(status);
	if (fork() == 0) {
		set_ids();
		_exit(0);
	}
	wait(NULL);
	if (fork() == 0) {
		many_processes();
		_exit(0);
	}
	wait(NULL);
	return 0;
}
