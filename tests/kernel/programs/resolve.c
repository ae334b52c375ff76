/* How paths are resolved, and what renames, O_TMPFILE, O_PATH, statx, lseek and sendfile check. */
#include "show.h"
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/vfs.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <unistd.h>

#ifndef RESOLVE_BENEATH
#define RESOLVE_NO_XDEV 1
#define RESOLVE_NO_MAGICLINKS 2
#define RESOLVE_NO_SYMLINKS 4
#define RESOLVE_BENEATH 8
#define RESOLVE_IN_ROOT 16
#define RESOLVE_CACHED 32
#endif
#define OPENAT2 437
#define RENAMEAT2 316

struct how {
	uint64_t flags, mode, resolve;
};

static long open2(int at, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
	struct how how = {.flags = flags, .mode = mode, .resolve = resolve};
	long file = syscall(OPENAT2, at, path, &how, sizeof how);

	if (file >= 0)
		close(file);
	return file < 0 ? -1 : 0;
}

static void how(void)
{
	struct how how = {.flags = O_RDONLY};
	char large[64] = {0};
	int at = open("d", O_RDONLY | O_DIRECTORY);

	puts("# openat2");
	SHOW(open2(AT_FDCWD, "d/f", O_RDONLY, 0, 0));
	SHOW(open2(AT_FDCWD, "d/f", O_RDONLY, 0600, 0));
	SHOW(open2(AT_FDCWD, "d/f", O_RDONLY, 0, 0x8000));
	SHOW(open2(AT_FDCWD, "d/f", 1ull << 40, 0, 0));
	SHOW(open2(AT_FDCWD, "d/f", O_PATH | O_RDWR, 0, 0));
	SHOW(open2(AT_FDCWD, "d/f", O_PATH | O_CREAT, 0, 0));
	SHOW(open2(AT_FDCWD, "d/new", O_CREAT | O_RDWR, 0600, 0));
	SHOW(open2(AT_FDCWD, "d/new2", O_CREAT | O_RDWR, 01000000, 0));
	SHOW(open2(AT_FDCWD, "d/new3", O_CREAT | O_RDWR | O_DIRECTORY, 0600, 0));
	SHOW(unlink("d/new"));
	SHOW(syscall(OPENAT2, at, "f", &how, 0));
	SHOW(syscall(OPENAT2, at, "f", &how, 8));
	SHOW(syscall(OPENAT2, at, "f", NULL, sizeof how));
	SHOW(syscall(OPENAT2, at, "f", &how, 5000));
	SHOW_DONE(syscall(OPENAT2, at, "f", large, sizeof large));
	large[40] = 1;
	SHOW_DONE(syscall(OPENAT2, at, "f", large, sizeof large));
	SHOW(open2(at, "../d/f", O_RDONLY, 0, RESOLVE_BENEATH));
	SHOW(open2(at, "f", O_RDONLY, 0, RESOLVE_BENEATH));
	SHOW(open2(at, "e/../f", O_RDONLY, 0, RESOLVE_BENEATH));
	SHOW(open2(at, "/dev/null", O_RDONLY, 0, RESOLVE_BENEATH));
	SHOW(open2(at, "out", O_RDONLY, 0, RESOLVE_BENEATH));
	SHOW(open2(at, "abs", O_RDONLY, 0, RESOLVE_BENEATH));
	SHOW(open2(at, "in", O_RDONLY, 0, RESOLVE_BENEATH));
	SHOW(open2(at, "/f", O_RDONLY, 0, RESOLVE_IN_ROOT));
	SHOW(open2(at, "../../f", O_RDONLY, 0, RESOLVE_IN_ROOT));
	SHOW(open2(at, "out", O_RDONLY, 0, RESOLVE_IN_ROOT));
	SHOW(open2(at, "abs", O_RDONLY, 0, RESOLVE_IN_ROOT));
	SHOW(open2(at, "/", O_RDONLY, 0, RESOLVE_IN_ROOT));
	SHOW(open2(at, "in", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
	SHOW(open2(at, "in", O_PATH | O_NOFOLLOW, 0, RESOLVE_NO_SYMLINKS));
	SHOW(open2(at, "l/f", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
	SHOW(open2(at, "f", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
	SHOW(open2(AT_FDCWD, "/proc/self/fd/0", O_RDONLY, 0, RESOLVE_NO_MAGICLINKS));
	SHOW(open2(AT_FDCWD, "/proc/self/fd/0", O_PATH | O_NOFOLLOW, 0, RESOLVE_NO_MAGICLINKS));
	SHOW(open2(AT_FDCWD, "/proc/self", O_PATH, 0, RESOLVE_NO_MAGICLINKS));
	SHOW(open2(AT_FDCWD, "/proc/self", O_PATH, 0, RESOLVE_NO_XDEV));
	SHOW(open2(at, "f", O_RDONLY, 0, RESOLVE_NO_XDEV));
	SHOW(open2(at, "..", O_RDONLY, 0, RESOLVE_NO_XDEV));
	SHOW(open2(at, "f", O_RDONLY, 0, RESOLVE_BENEATH | RESOLVE_IN_ROOT));
	SHOW(open2(at, "f", O_RDONLY | O_TRUNC | O_CREAT, 0600, RESOLVE_CACHED));
	SHOW(open2(at, "made", O_RDWR | O_CREAT, 0600, RESOLVE_IN_ROOT));
	SHOW(open2(at, "abs2", O_RDWR | O_CREAT, 0600, RESOLVE_IN_ROOT));
	SHOW(access("d/made2", F_OK));
	unlinkat(at, "made", 0);
	unlinkat(at, "made2", 0);
	close(at);
}

static void removed(void)
{
	char path[100];
	int at, up;
	struct stat there, here;

	puts("# removed");
	mkdir("a", 0755);
	mkdir("a/b", 0755);
	SHOW_DONE(at = open("a/b", O_RDONLY | O_DIRECTORY));
	SHOW(rmdir("a/b"));
	SHOW_DONE(up = openat(at, "..", O_RDONLY));
	fstat(up, &there);
	stat("a", &here);
	SHOW_IS(there.st_ino == here.st_ino);
	close(up);
	SHOW(openat(at, "x", O_RDONLY));
	SHOW(openat(at, "x", O_RDWR | O_CREAT, 0600));
	SHOW(mkdirat(at, "x", 0700));
	SHOW(symlinkat("x", at, "x"));
	SHOW(linkat(AT_FDCWD, "d/f", at, "x", 0));
	SHOW(renameat(AT_FDCWD, "d/f", at, "x"));
	SHOW(unlinkat(at, "x", 0));
	SHOW(unlinkat(at, "x", AT_REMOVEDIR));
	SHOW(mknodat(at, "x", S_IFIFO | 0600, 0));
	SHOW_DONE(openat(at, ".", O_RDONLY));
	SHOW(fchmod(at, 0700));
	SHOW(fstat(at, &here));
	SHOW(here.st_nlink);
	SHOW(fsync(at));
	char entries[512];
	SHOW(syscall(SYS_getdents64, at, entries, sizeof entries));
	SHOW(fchdir(at));
	SHOW(syscall(SYS_getcwd, path, sizeof path) < 0 ? -1 : 0);
	SHOW(open("x", O_RDWR | O_CREAT, 0600));
	SHOW(stat("../b", &here));
	SHOW(stat("..", &here));
	SHOW_IS(there.st_ino == here.st_ino);
	SHOW(access(".", F_OK));
	SHOW(chdir(".."));
	SHOW(chdir(".."));
	SHOW(rmdir("a"));
	SHOW(rmdir("a"));
	close(at);
	/* A parent that goes after its child. */
	mkdir("a", 0755);
	mkdir("a/b", 0755);
	at = open("a/b", O_RDONLY | O_DIRECTORY);
	rmdir("a/b");
	rmdir("a");
	SHOW_DONE(up = openat(at, "..", O_RDONLY));
	SHOW(openat(up, "x", O_RDONLY));
	close(up);
	SHOW_DONE(up = openat(at, "../..", O_RDONLY));
	fstat(up, &there);
	stat(".", &here);
	SHOW_IS(there.st_ino == here.st_ino);
	close(up);
	close(at);
}

#define REN(old, new, flags) syscall(RENAMEAT2, AT_FDCWD, old, AT_FDCWD, new, flags)

static int links(const char *path)
{
	struct stat told;

	return stat(path, &told) ? -1 : (int)told.st_nlink;
}

static void renames(void)
{
	struct stat one, two;

	puts("# renames");
	mkdir("r", 0755);
	mkdir("r/s", 0755);
	mkdir("r/s/t", 0755);
	mkdir("q", 0755);
	close(creat("r/f", 0600));
	close(creat("q/g", 0600));
	SHOW(REN("r/f", "q/g", 1));
	SHOW(REN("r/f", "q/h", 1));
	SHOW(REN("q/h", "r/f", 1));
	SHOW(REN("r/f", "q/g", 8));
	SHOW(REN("r/f", "q/g", 3));
	SHOW(REN("r/f", "q/g", 6));
	SHOW(REN("r/f", "q/none", 2));
	SHOW(REN("none", "q/g", 2));
	stat("r/f", &one);
	SHOW(REN("r/f", "q/g", 2));
	stat("q/g", &two);
	SHOW_IS(one.st_ino == two.st_ino);
	SHOW(REN("r/s", "q/g", 2));
	SHOW(links("r"));
	SHOW(links("q"));
	SHOW(links("q/g"));
	SHOW_IS(!stat("q/g/..", &one) && !stat("q", &two) && one.st_ino == two.st_ino);
	SHOW(REN("r/s", "q/g", 2));
	SHOW(REN("r/s", "r", 2));
	SHOW(REN("r", "r/s", 2));
	SHOW(REN("r", "r/s/t", 0));
	SHOW(REN("r/s/t", "r", 0));
	SHOW(REN("r/s", "r/s", 0));
	SHOW(REN("r/s", "r/s/", 0));
	SHOW(REN("r/f", "r/f/", 0));
	SHOW(REN("r/f", "r/n/", 0));
	SHOW(REN("r/f/", "r/n", 0));
	SHOW(REN("r/s/", "r/n/", 0));
	SHOW(REN("r/n", "r/s", 0));
	SHOW(REN("r/f", "r/s", 0));
	SHOW(REN("r/s", "r/f", 0));
	SHOW(REN("q", "r/s", 0));
	SHOW(REN("r/.", "x", 0));
	SHOW(REN("r/..", "x", 0));
	SHOW(REN("r/s", "r/.", 0));
	SHOW(REN("r/s", "q/..", 1));
	SHOW(REN("", "x", 0));
	SHOW(REN("x", "", 0));
	SHOW(REN("r/f/x", "y", 0));
	SHOW(link("r/f", "r/l"));
	SHOW(REN("r/f", "r/l", 0));
	SHOW(links("r/f"));
	SHOW(REN("r/f", "r/l", 1));
	SHOW(REN("r/f", "r/l", 2));
	SHOW(symlink("f", "r/y"));
	SHOW(REN("r/y", "q/y", 0));
	SHOW(REN("r/f", "q/y/", 0));
	SHOW(unlink("q/y"));
	SHOW(unlink("r/l"));
	SHOW(unlink("r/f"));
	SHOW(unlink("q/g"));
	SHOW(rmdir("r/s/t"));
	SHOW(rmdir("r/s"));
	SHOW(rmdir("r"));
	SHOW(rmdir("q"));
}

static void unnamed(void)
{
	char path[64];
	struct stat told;
	int file;

	puts("# unnamed");
	SHOW_DONE(file = open(".", O_TMPFILE | O_RDWR, 0640));
	SHOW(write(file, "abc", 3));
	fstat(file, &told);
	SHOW(told.st_nlink);
	SHOW(told.st_mode);
	SHOW(linkat(file, "", AT_FDCWD, "named", AT_EMPTY_PATH));
	SHOW(links("named"));
	SHOW(linkat(file, "", AT_FDCWD, "again", AT_EMPTY_PATH));
	SHOW(unlink("named"));
	SHOW(unlink("again"));
	SHOW(linkat(file, "", AT_FDCWD, "again", AT_EMPTY_PATH));
	close(file);
	SHOW_DONE(file = open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600));
	snprintf(path, sizeof path, "/proc/self/fd/%d", file);
	SHOW(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	close(file);
	SHOW(open(".", O_TMPFILE | O_RDONLY, 0600));
	SHOW(open("none", O_TMPFILE | O_RDWR, 0600));
	SHOW(open("d/f", O_TMPFILE | O_RDWR, 0600));
	SHOW(open(".", O_TMPFILE | O_RDWR | O_CREAT, 0600));
	SHOW_DONE(file = open(".", O_TMPFILE | O_WRONLY, 0));
	SHOW(write(file, "x", 1));
	close(file);
	SHOW(open("/proc", O_TMPFILE | O_RDWR, 0600));
}

/* The begin of struct statx. */
struct told {
	uint32_t mask, block_size;
	uint64_t attributes;
	uint32_t links, user, group;
	uint16_t mode, spare;
	uint64_t number, size, blocks, attributes_mask;
	char rest[192];
};

static void places(void)
{
	struct stat told;
	struct statfs space;
	char byte;
	int place, at;

	puts("# places");
	SHOW_DONE(place = open("d/f", O_PATH));
	SHOW(fchown(place, -1, -1));
	SHOW(fchownat(place, "", -1, -1, AT_EMPTY_PATH));
	SHOW(syscall(452, place, "", 0644, AT_EMPTY_PATH));
	SHOW(fchdir(place));
	SHOW(fstatfs(place, &space));
	SHOW(ioctl(place, FIONREAD, &at));
	SHOW(fallocate(place, 0, 0, 1));
	SHOW(posix_fadvise(place, 0, 0, 0));
	SHOW(syncfs(place));
	SHOW(faccessat(place, "", R_OK, AT_EMPTY_PATH));
	SHOW(utimensat(place, "", NULL, AT_EMPTY_PATH));
	SHOW(futimens(place, NULL));
	SHOW(lseek(place, 0, SEEK_CUR));
	SHOW(readlinkat(place, "", &byte, 1));
	SHOW(linkat(place, "", AT_FDCWD, "lk", AT_EMPTY_PATH));
	SHOW(unlink("lk"));
	SHOW(sendfile(1, place, NULL, 1));
	SHOW(fcntl(place, F_GETFL) & O_PATH);
	close(place);
	SHOW_DONE(place = open("d/in", O_PATH | O_NOFOLLOW));
	SHOW(fstat(place, &told));
	SHOW_IS(S_ISLNK(told.st_mode));
	SHOW(openat(place, "", O_RDONLY));
	SHOW(fchmodat(place, "", 0600, AT_EMPTY_PATH));
	close(place);
	SHOW(open("d/in", O_NOFOLLOW));
	SHOW(open("d/in", O_RDONLY | O_NOFOLLOW | O_DIRECTORY));
	SHOW_DONE(place = open("d/f", O_PATH | O_TRUNC | O_CREAT | O_WRONLY));
	SHOW_IS((fcntl(place, F_GETFL) & O_ACCMODE) == 0);
	close(place);
	SHOW(open("d/f", O_PATH | O_DIRECTORY));
	SHOW(open("d/f/", O_RDONLY));
	SHOW(open("d/f/.", O_RDONLY));
	SHOW(open("d/none/", O_RDWR | O_CREAT, 0600));
	SHOW(open("d/none/x", O_RDWR | O_CREAT, 0600));
	SHOW(open("d", O_RDWR));
	SHOW(open("d", O_CREAT, 0600));
	SHOW(open("d", O_CREAT | O_EXCL, 0600));
	SHOW(open("d/in", O_CREAT | O_EXCL, 0600));
	SHOW(open("d/.", O_CREAT | O_RDWR, 0600));
	SHOW(open("d/..", O_CREAT | O_EXCL | O_RDWR, 0600));
	SHOW(mkdir("d/", 0700));
	SHOW(mkdir("d/.", 0700));
	SHOW(mkdir("d/..", 0700));
	SHOW(mkdir("/", 0700));
	SHOW(mkdir("d/in", 0700));
	SHOW(mkdir("d/f/x", 0700));
	SHOW(rmdir("d/."));
	SHOW(rmdir("d/.."));
	SHOW(rmdir("d/f"));
	SHOW(rmdir("d/f/"));
	SHOW(rmdir("/"));
	SHOW(unlink("d/f/"));
	SHOW(unlink("d/."));
	SHOW(unlink("/"));
	SHOW(unlink("d/e/"));
	SHOW(unlink("d/none/"));
	SHOW(symlink("x", "d/f/"));
	SHOW(symlink("x", "d/none/"));
	SHOW(symlink("", "d/none"));
	SHOW(link("d/f", "d/none/"));
	SHOW(link("d/f/", "d/none"));
	SHOW(link("d/e", "d/none"));
	SHOW(link("d/in", "d/hard"));
	SHOW(lstat("d/hard", &told));
	SHOW_IS(S_ISLNK(told.st_mode));
	SHOW(unlink("d/hard"));
	SHOW(linkat(AT_FDCWD, "d/in", AT_FDCWD, "d/hard", AT_SYMLINK_FOLLOW));
	SHOW(lstat("d/hard", &told));
	SHOW_IS(S_ISREG(told.st_mode));
	SHOW(unlink("d/hard"));
	SHOW(linkat(AT_FDCWD, "d/f", AT_FDCWD, "x", 1));
	SHOW(unlinkat(AT_FDCWD, "d/f", 1));
	SHOW(mkfifo("d/fifo", 0600));
	SHOW(open("d/fifo/", O_RDONLY));
	SHOW(unlink("d/fifo"));
	SHOW(chdir("d/f"));
	SHOW(access("d/f", 8));
	SHOW(access("d/f", X_OK));
	SHOW(mknod("d/f", S_IFREG, 0));
	SHOW(mknod("d/none/", S_IFREG, 0));
	SHOW(mknod("d/sock", S_IFSOCK | 0600, 0));
	SHOW(open("d/sock", O_RDONLY));
	SHOW(unlink("d/sock"));
	SHOW(mknod("d/bad", 0170000, 0));
}

static int told_of(int at, const char *path, int flags, unsigned mask, struct told *told)
{
	return syscall(332, at, path, flags, mask, told);
}

static void more_about(void)
{
	struct told told;
	int file = open("d/f", O_RDWR);

	puts("# statx");
	SHOW(told_of(AT_FDCWD, "d/f", 0, 0x7ff, &told));
	SHOW(told.mask & 0x7ff);
	SHOW(told.mode);
	SHOW(told_of(AT_FDCWD, "d/f", 0, 0x1000, &told));
	SHOW_IS(told.mask & 0x1000);
	SHOW(told_of(AT_FDCWD, "/", 0, 0, &told));
	SHOW_IS(told.attributes_mask & 0x2000);
	SHOW_IS(told.attributes & 0x2000);
	SHOW(told_of(file, "", 0x1000, 0xfff, &told));
	SHOW(told_of(file, "", 0, 0xfff, &told));
	SHOW(told_of(file, NULL, 0x1000, 0xfff, &told));
	SHOW(told_of(file, NULL, 0, 0xfff, &told));
	SHOW(told_of(AT_FDCWD, "d/f", 0x6000, 0, &told));
	SHOW(told_of(AT_FDCWD, "d/f", 0x40000000, 0, &told));
	SHOW(told_of(AT_FDCWD, "d/f", 0, 0x80000000, &told));
	SHOW(told_of(AT_FDCWD, "d/f", 0, 0, NULL));
	SHOW(told_of(AT_FDCWD, "none", 0, 0, &told));
	SHOW(told_of(AT_FDCWD, "", 0, 0, &told));
	SHOW(told_of(-1, "d", 0, 0, &told));
	SHOW(told_of(file, "x", 0, 0, &told));
	SHOW(told_of(AT_FDCWD, "d/in", AT_SYMLINK_NOFOLLOW, 0xfff, &told));
	SHOW(told.mode & S_IFMT);
	close(file);
}

static void positions(void)
{
	int file = open("d/f", O_RDWR), zero = open("/dev/zero", O_RDWR), null = open("/dev/null", O_RDWR);
	int full = open("/dev/full", O_RDWR), random = open("/dev/urandom", O_RDONLY), folder = open("d", O_RDONLY);
	int ends[2];
	char bytes[100] = {1, 2, 3};
	off_t at = 10;

	puts("# positions");
	SHOW(lseek(file, 0, SEEK_SET));
	SHOW(lseek(file, -1, SEEK_CUR));
	SHOW(lseek(file, -100000, SEEK_END));
	SHOW(lseek(file, INT64_MIN, SEEK_SET));
	SHOW(lseek(file, -1, SEEK_DATA));
	SHOW(lseek(file, -1, SEEK_HOLE));
	SHOW(lseek(file, 0, 5));
	SHOW(lseek(file, 0, -1));
	SHOW(lseek(folder, 0, SEEK_SET));
	SHOW(lseek(folder, 0, 7));
	SHOW(lseek(zero, 123, SEEK_SET));
	SHOW(lseek(zero, 0, SEEK_END));
	SHOW(lseek(null, 123, SEEK_SET));
	SHOW(lseek(null, 5, SEEK_CUR));
	SHOW(lseek(full, 5, SEEK_SET));
	SHOW(lseek(random, 5, SEEK_SET));
	puts("# between");
	SHOW(pipe(ends));
	SHOW(ftruncate(file, 0));
	lseek(file, 0, SEEK_SET);
	SHOW(sendfile(file, zero, NULL, 5000));
	SHOW(sendfile(file, zero, &at, 100));
	SHOW(at);
	SHOW(lseek(file, 0, SEEK_END));
	SHOW(sendfile(ends[1], zero, NULL, 100));
	SHOW(read(ends[0], bytes, 100));
	SHOW(bytes[0]);
	SHOW(sendfile(null, file, NULL, 5000));
	at = 0;
	SHOW(sendfile(null, file, &at, 10000));
	SHOW(at);
	SHOW(sendfile(full, file, &at, 100));
	at = 0;
	SHOW(sendfile(full, file, &at, 100));
	SHOW(sendfile(null, null, NULL, 100));
	SHOW(sendfile(null, folder, NULL, 100));
	SHOW(sendfile(folder, file, NULL, 100));
	SHOW(sendfile(file, ends[0], NULL, 1) < 0 ? -1 : 0);
	at = -1;
	SHOW(sendfile(null, file, &at, 1));
	SHOW(splice(zero, NULL, ends[1], NULL, 3000, 0));
	SHOW(splice(ends[0], NULL, null, NULL, 3000, 0));
	SHOW(splice(null, NULL, ends[1], NULL, 100, 0));
	SHOW(splice(random, NULL, ends[1], NULL, 64, 0));
	SHOW(splice(ends[0], NULL, file, NULL, 64, 0));
	SHOW(splice(file, NULL, null, NULL, 10, 0));
	at = 5;
	SHOW(splice(zero, &at, ends[1], NULL, 64, 0));
	SHOW(at);
	SHOW(splice(ends[0], NULL, zero, &at, 64, 0));
	SHOW(splice(folder, NULL, ends[1], NULL, 64, 0));
	SHOW(splice(file, NULL, ends[1], NULL, 64, 16));
	at = -1;
	SHOW(splice(file, &at, ends[1], NULL, 64, 0));
	SHOW(copy_file_range(file, NULL, null, NULL, 10, 0));
	SHOW(copy_file_range(zero, NULL, file, NULL, 10, 0));
	SHOW(copy_file_range(folder, NULL, file, NULL, 10, 0));
	SHOW(copy_file_range(file, NULL, folder, NULL, 10, 0));
	SHOW(copy_file_range(ends[0], NULL, file, NULL, 10, 0));
	SHOW(copy_file_range(file, NULL, file, NULL, 10, 1));
	at = 0;
	off_t to = 2;
	SHOW(copy_file_range(file, &at, file, &to, 10, 0));
	at = -1;
	SHOW(copy_file_range(file, &at, file, &to, 10, 0));
	close(file);
	int only = open("d/f", O_RDONLY), append = open("d/f", O_RDWR | O_APPEND);
	at = 0;
	SHOW(copy_file_range(only, &at, only, &to, 10, 0));
	SHOW(copy_file_range(only, &at, append, NULL, 10, 0));
	SHOW(sendfile(append, zero, NULL, 10));
	SHOW(splice(ends[0], NULL, append, NULL, 10, 0));
	SHOW(sendfile(only, zero, NULL, 10));
	close(only);
	close(append);
	SHOW(truncate("d/f", 0));
}

int main(void)
{
	umask(022);
	mkdir("d", 0755);
	mkdir("d/e", 0755);
	close(creat("d/f", 0644));
	symlink("f", "d/in");
	symlink("../d/f", "d/out");
	symlink("/f", "d/abs");
	symlink("/made2", "d/abs2");
	symlink(".", "d/l");
	how();
	removed();
	renames();
	unnamed();
	places();
	more_about();
	positions();
	for (const char **name = (const char *[]){"d/abs2", "d/abs", "d/out", "d/in", "d/l", "d/f", NULL}; *name; name++)
		unlink(*name);
	rmdir("d/e");
	return rmdir("d");
}
