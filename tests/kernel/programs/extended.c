/* Extended attributes. */
#include "show.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static char bytes[70000], big[70000];
static char *volatile nowhere = (char *)1;

static int compare(const void *one, const void *other)
{
	return strcmp(*(char *const *)one, *(char *const *)other);
}

/* The names, in order, of those that programs give. */
static void names(const char *path)
{
	char list[4096], *all[100];
	ssize_t len = listxattr(path, list, sizeof list);
	int count = 0;

	SHOW(len < 0 ? -1 : 0);
	for (char *at = list; len > 0 && at < list + len && count < 100; at += strlen(at) + 1)
		all[count++] = at;
	qsort(all, count, sizeof *all, compare);
	for (int i = 0; i < count; i++)
		printf("  %s\n", all[i]);
}

static void basics(void)
{
	int file = open("f", O_CREAT | O_RDWR, 0600), only = open("f", O_RDONLY), wonly = open("f", O_WRONLY), place = open("f", O_PATH);
	char name[300];
	struct stat before, after;

	puts("# basics");
	SHOW(listxattr("f", NULL, 0));
	SHOW(getxattr("f", "user.a", bytes, 100));
	SHOW(setxattr("f", "user.a", "value", 5, 0));
	SHOW(getxattr("f", "user.a", bytes, 100));
	SHOW_IS(!memcmp(bytes, "value", 5));
	SHOW(getxattr("f", "user.a", NULL, 0));
	SHOW(getxattr("f", "user.a", bytes, 4));
	SHOW(getxattr("f", "user.a", bytes, 0));
	SHOW(setxattr("f", "user.a", "x", 1, XATTR_CREATE));
	SHOW(setxattr("f", "user.b", "x", 1, XATTR_REPLACE));
	SHOW(setxattr("f", "user.b", "x", 1, XATTR_CREATE));
	SHOW(setxattr("f", "user.b", "yy", 2, XATTR_REPLACE));
	SHOW(setxattr("f", "user.b", "yy", 2, XATTR_REPLACE | XATTR_CREATE));
	SHOW(setxattr("f", "user.c", "yy", 2, XATTR_REPLACE | XATTR_CREATE));
	SHOW(setxattr("f", "user.b", "yy", 2, 4));
	SHOW(setxattr("f", "user.empty", "", 0, 0));
	SHOW(setxattr("f", "user.null", NULL, 0, 0));
	SHOW(getxattr("f", "user.empty", bytes, 10));
	names("f");
	SHOW(listxattr("f", bytes, 1));
	SHOW(listxattr("f", NULL, 0));
	SHOW(removexattr("f", "user.b"));
	SHOW(removexattr("f", "user.b"));
	SHOW(removexattr("f", "user.none"));
	names("f");
	puts("# names");
	SHOW(setxattr("f", "", "x", 1, 0));
	SHOW(setxattr("f", "user.", "x", 1, 0));
	SHOW(setxattr("f", "user", "x", 1, 0));
	SHOW(setxattr("f", "other.x", "x", 1, 0));
	SHOW(setxattr("f", "nodot", "x", 1, 0));
	SHOW(getxattr("f", "other.x", bytes, 1));
	SHOW(getxattr("f", "user.", bytes, 1));
	SHOW(getxattr("f", "", bytes, 1));
	SHOW(removexattr("f", "other.x"));
	SHOW(removexattr("f", ""));
	SHOW(setxattr("f", "system.x", "x", 1, 0));
	SHOW(getxattr("f", "system.x", bytes, 1));
	memset(name, 'n', sizeof name);
	memcpy(name, "user.", 5);
	name[255] = 0;
	SHOW(setxattr("f", name, "x", 1, 0));
	SHOW(getxattr("f", name, bytes, 1));
	SHOW(removexattr("f", name));
	name[255] = 'n';
	name[256] = 0;
	SHOW(setxattr("f", name, "x", 1, 0));
	SHOW(getxattr("f", name, bytes, 1));
	SHOW(removexattr("f", name));
	SHOW(setxattr("f", nowhere, "x", 1, 0));
	SHOW(setxattr("f", "user.a", nowhere, 1, 0));
	SHOW(getxattr("f", "user.a", nowhere, 10));
	SHOW(listxattr("f", nowhere, 1000));
	SHOW(setxattr("f", "user.a", big, 65537, 0));
	SHOW(setxattr("f", "user.a", big, 300, 0));
	SHOW(getxattr("f", "user.a", bytes, 70000));
	SHOW(setxattr("none", "user.a", "x", 1, 0));
	SHOW(getxattr("none", "user.a", bytes, 1));
	SHOW(listxattr("none", bytes, 1));
	SHOW(removexattr("none", "user.a"));
	SHOW(setxattr("", "user.a", "x", 1, 0));
	puts("# descriptors");
	SHOW(fsetxattr(file, "user.f", "12", 2, 0));
	SHOW(fsetxattr(only, "user.f", "123", 3, 0));
	SHOW(fgetxattr(wonly, "user.f", bytes, 10));
	SHOW(fgetxattr(file, "user.f", bytes, 10));
	SHOW(flistxattr(wonly, bytes, 1000) > 0);
	SHOW(fremovexattr(only, "user.f"));
	SHOW(fremovexattr(only, "user.f"));
	SHOW(fsetxattr(place, "user.f", "12", 2, 0));
	SHOW(fgetxattr(place, "user.f", bytes, 2));
	SHOW(flistxattr(place, bytes, 2));
	SHOW(fremovexattr(place, "user.f"));
	SHOW(fsetxattr(-1, "user.f", "12", 2, 0));
	SHOW(fgetxattr(-1, "user.f", bytes, 2));
	SHOW(flistxattr(-1, bytes, 2));
	SHOW(fremovexattr(-1, "user.f"));
	puts("# trusted");
	SHOW(setxattr("f", "trusted.t", "12", 2, 0));
	SHOW(getxattr("f", "trusted.t", bytes, 10));
	names("f");
	SHOW(setxattr("f", "security.s", "12", 2, 0));
	SHOW(getxattr("f", "security.s", bytes, 10));
	names("f");
	SHOW(removexattr("f", "security.s"));
	SHOW(stat("f", &before));
	usleep(20000);
	SHOW(setxattr("f", "user.time", "x", 1, 0));
	SHOW(stat("f", &after));
	SHOW_IS(before.st_ctim.tv_nsec != after.st_ctim.tv_nsec);
	SHOW_IS(before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
	usleep(20000);
	SHOW(removexattr("f", "user.time"));
	SHOW(stat("f", &before));
	SHOW_IS(before.st_ctim.tv_nsec != after.st_ctim.tv_nsec);
	close(file);
	close(only);
	close(wonly);
	close(place);
}

static void kinds(void)
{
	puts("# kinds");
	mkdir("d", 0755);
	SHOW(setxattr("d", "user.a", "x", 1, 0));
	SHOW(getxattr("d", "user.a", bytes, 1));
	symlink("f", "l");
	symlink("none", "dangling");
	SHOW(setxattr("l", "user.link", "x", 1, 0));
	SHOW(getxattr("f", "user.link", bytes, 10));
	SHOW(lgetxattr("l", "user.link", bytes, 10));
	SHOW(lsetxattr("l", "user.link", "x", 1, 0));
	SHOW(lremovexattr("l", "user.link"));
	SHOW(llistxattr("l", bytes, 100));
	SHOW(lsetxattr("l", "trusted.link", "x", 1, 0));
	SHOW(lgetxattr("l", "trusted.link", bytes, 10));
	SHOW(llistxattr("l", bytes, 100));
	SHOW(lremovexattr("l", "trusted.link"));
	SHOW(setxattr("dangling", "user.a", "x", 1, 0));
	SHOW(lsetxattr("f", "user.own", "x", 1, 0));
	SHOW(removexattr("f", "user.own"));
	mkfifo("p", 0600);
	SHOW(setxattr("p", "user.a", "x", 1, 0));
	SHOW(getxattr("p", "user.a", bytes, 1));
	SHOW(setxattr("p", "trusted.a", "x", 1, 0));
	SHOW(getxattr("p", "trusted.a", bytes, 1));
	SHOW(setxattr("p", "user.a", "x", 1, XATTR_REPLACE));
	SHOW(removexattr("p", "user.a"));
	mknod("s", S_IFSOCK | 0600, 0);
	SHOW(setxattr("s", "user.a", "x", 1, 0));
	SHOW(getxattr("s", "user.a", bytes, 1));
	SHOW(rename("f", "g"));
	SHOW(getxattr("g", "user.a", bytes, 2000));
	SHOW(link("g", "h"));
	SHOW(getxattr("h", "user.a", bytes, 2000));
	SHOW(unlink("g"));
	SHOW(getxattr("h", "user.a", bytes, 2000));
	SHOW(setxattr("/proc/self/status", "user.a", "x", 1, 0));
	int ends[2];
	pipe(ends);
	SHOW(fsetxattr(ends[0], "user.a", "x", 1, 0));
	SHOW(fgetxattr(ends[0], "user.a", bytes, 1));
	SHOW(flistxattr(ends[0], bytes, 100) >= 0);
}

static void users(void)
{
	puts("# users");
	close(creat("mine", 0644));
	mkdir("sticky", 01777);
	chmod("sticky", 01777);
	setxattr("mine", "user.a", "x", 1, 0);
	setxattr("mine", "trusted.a", "x", 1, 0);
	if (fork() == 0) {
		setuid(1000);
		SHOW(getxattr("mine", "user.a", bytes, 10));
		SHOW(setxattr("mine", "user.a", "y", 1, 0));
		SHOW(removexattr("mine", "user.a"));
		SHOW(getxattr("mine", "trusted.a", bytes, 10));
		SHOW(setxattr("mine", "trusted.a", "y", 1, 0));
		SHOW(removexattr("mine", "trusted.a"));
		SHOW(getxattr("mine", "security.a", bytes, 10));
		SHOW(setxattr("mine", "security.a", "y", 1, 0));
		SHOW(setxattr("sticky", "user.a", "y", 1, 0));
		names("mine");
		_exit(0);
	}
	wait(NULL);
	chmod("mine", 0200);
	chown("mine", 1000, 1000);
	if (fork() == 0) {
		setuid(1000);
		SHOW(getxattr("mine", "user.a", bytes, 10));
		SHOW(setxattr("mine", "user.a", "y", 1, 0));
		_exit(0);
	}
	wait(NULL);
	chmod("mine", 0400);
	if (fork() == 0) {
		setuid(1000);
		SHOW(getxattr("mine", "user.a", bytes, 10));
		SHOW(setxattr("mine", "user.a", "y", 1, 0));
		_exit(0);
	}
	wait(NULL);
}

static void many(void)
{
	char name[40];
	int done;

	puts("# many");
	close(creat("m", 0600));
	for (done = 0; done < 12; done++) {
		snprintf(name, sizeof name, "user.name-%d", done);
		memset(big, done, 64);
		if (setxattr("m", name, big, 20, 0))
			break;
	}
	SHOW(done);
	for (int i = 0; i < 12; i += 2) {
		snprintf(name, sizeof name, "user.name-%d", i);
		removexattr("m", name);
	}
	int good = 0;
	for (int i = 1; i < 12; i += 2) {
		snprintf(name, sizeof name, "user.name-%d", i);
		good += getxattr("m", name, bytes, 100) == 20 && bytes[19] == i;
	}
	SHOW(good);
	SHOW(setxattr("m", "user.name-1", big, 250, 0));
	SHOW(getxattr("m", "user.name-1", bytes, 1000));
	SHOW(getxattr("m", "user.name-3", bytes, 1000));
	SHOW(bytes[3]);
	names("m");
}

int main(void)
{
	char folder[] = "xattr-XXXXXX";

	umask(022);
	mkdtemp(folder);
	chmod(folder, 0755);
	chdir(folder);
	basics();
	kinds();
	users();
	many();
	SHOW(unlink("h"));
	SHOW(unlink("l"));
	for (const char **name = (const char *[]){"dangling", "p", "s", "mine", "m", NULL}; *name; name++)
		unlink(*name);
	SHOW(rmdir("sticky"));
	SHOW(rmdir("d"));
	chdir("..");
	return rmdir(folder);
}
