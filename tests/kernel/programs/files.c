/* Files: what is done with descriptors, locks, positions, names. */
#include "show.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

static struct flock range(int kind, off_t start, off_t len)
{
	return (struct flock){.l_type = kind, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
}

/* O_ACCMODE has other bits, too, with musl. */
enum { NEITHER = 3 };

/* The result of a call in a child. */
#define IN_CHILD(call)                                                         \
	do {                                                                   \
		fflush(stdout);                                                \
		pid_t child_ = fork();                                         \
		if (child_ == 0) {                                             \
			SHOW(call);                                            \
			fflush(stdout);                                        \
			_exit(0);                                              \
		}                                                              \
		waitpid(child_, NULL, 0);                                      \
	} while (0)

static void locks(void)
{
	int file = open("locked", O_CREAT | O_RDWR | O_TRUNC, 0644);
	int again = open("locked", O_RDWR);
	int reader = open("locked", O_RDONLY);
	struct flock lock = range(F_WRLCK, 10, 10), shared = range(F_RDLCK, 15, 1);
	struct flock behind = range(F_WRLCK, 20, 0), all = range(F_UNLCK, 0, 0), asked;

	puts("# locks");
	SHOW(fcntl(file, F_SETLK, &lock));
	SHOW(fcntl(again, F_SETLK, &lock));
	IN_CHILD(fcntl(file, F_SETLK, &lock));
	IN_CHILD(fcntl(file, F_SETLK, &shared));
	IN_CHILD(fcntl(file, F_SETLK, &behind));
	asked = shared;
	pid_t child = fork();
	if (child == 0) {
		SHOW(fcntl(file, F_GETLK, &asked));
		SHOW_IS(asked.l_type == F_WRLCK && asked.l_start == 10 && asked.l_len == 10);
		SHOW_IS(asked.l_pid == getppid());
		_exit(0);
	}
	waitpid(child, NULL, 0);
	/* Any descriptor of the file lets the locks go. */
	close(again);
	IN_CHILD(fcntl(file, F_SETLK, &lock));
	SHOW(fcntl(reader, F_SETLK, &lock));
	SHOW(fcntl(reader, F_SETLK, &shared));
	IN_CHILD(fcntl(file, F_SETLK, &shared));
	IN_CHILD(fcntl(file, F_SETLK, &lock));
	SHOW(fcntl(file, F_SETLK, &all));
	lock.l_start = -1;
	SHOW(fcntl(file, F_SETLK, &lock));
	lock = range(99, 0, 0);
	SHOW(fcntl(file, F_SETLK, &lock));
	/* A child that waits for a lock. */
	lock = range(F_WRLCK, 0, 0);
	int ends[2];
	char byte;
	pipe(ends);
	child = fork();
	if (child == 0) {
		fcntl(file, F_SETLK, &lock);
		write(ends[1], "x", 1);
		usleep(30000);
		_exit(0);
	}
	read(ends[0], &byte, 1);
	SHOW(fcntl(file, F_SETLKW, &lock));
	waitpid(child, NULL, 0);
	close(ends[0]);
	close(ends[1]);
	fcntl(file, F_SETLK, &all);
	/* Locks of open files. */
	again = open("locked", O_RDWR);
	SHOW(flock(file, LOCK_EX));
	SHOW(flock(again, LOCK_EX | LOCK_NB));
	SHOW(flock(again, LOCK_SH | LOCK_NB));
	SHOW(flock(file, LOCK_SH));
	SHOW(flock(again, LOCK_SH | LOCK_NB));
	SHOW(flock(file, LOCK_EX | LOCK_NB));
	SHOW(close(again));
	SHOW(flock(file, LOCK_EX | LOCK_NB));
	SHOW(flock(file, 8 | 1));
	close(file);
	close(reader);
	unlink("locked");
}

static void transfers(void)
{
	int file = open("data", O_CREAT | O_RDWR | O_TRUNC, 0644), copy;
	char bytes[100];
	struct iovec parts[] = {{"abc", 3}, {"defg", 4}}, into[] = {{bytes, 2}, {bytes + 2, 98}};
	struct stat status;
	off_t at = 2;

	puts("# transfers");
	SHOW(writev(file, parts, 2));
	SHOW(lseek(file, 0, SEEK_CUR));
	SHOW(preadv(file, into, 2, 1));
	SHOW(memcmp(bytes, "bcdefg", 6));
	SHOW(pwritev(file, parts, 2, 5));
	SHOW(syscall(SYS_preadv2, file, into, 2, -1L, -1L, 0));
	SHOW(syscall(SYS_preadv2, file, into, 2, 0, 0, 0x10000));
	SHOW(syscall(SYS_pwritev2, file, parts, 1, 0, 0, 0x10 /* RWF_APPEND */));
	SHOW(pread(file, bytes, 100, 0));
	SHOW(memcmp(bytes, "abcdeabcdefgabc", 15));
	SHOW(pread(file, bytes, 1, -1));
	SHOW(readv(file, into, -1));
	SHOW(readv(file, into, 1025));
	SHOW(lseek(file, -1, SEEK_SET));
	SHOW(lseek(file, 0, 99));
	SHOW(lseek(file, 100, SEEK_DATA));
	SHOW(lseek(file, 3, SEEK_HOLE));
	copy = open("copy", O_CREAT | O_RDWR | O_TRUNC, 0644);
	SHOW(copy_file_range(file, &at, copy, NULL, 5, 0));
	SHOW(at);
	at = 0;
	SHOW(sendfile(copy, file, &at, 3));
	SHOW(pread(copy, bytes, 100, 0));
	SHOW(memcmp(bytes, "cdeababc", 8));
	SHOW(ftruncate(file, -1));
	SHOW(ftruncate(file, 5000));
	SHOW(fallocate(file, 0, 0, 10000));
	SHOW(fallocate(file, 0, -1, 10));
	SHOW(fallocate(file, 0, 0, 0));
	fstat(file, &status);
	SHOW(status.st_size);
	SHOW(posix_fadvise(file, 0, 0, 99));
	SHOW(fsync(file));
	SHOW(fdatasync(file));
	SHOW(sync_file_range(file, 0, 0, 0));
	SHOW(truncate("data", 3));
	SHOW(truncate("none", 3));
	SHOW(truncate("/", 3));
	close(copy);
	close(file);
	SHOW(read(file, bytes, 1));
	SHOW(unlink("data"));
	SHOW(unlink("data"));
	SHOW(unlink("copy"));
}

static void descriptors(void)
{
	int file = open("f", O_CREAT | O_RDWR | O_APPEND, 0644), ends[2];
	char byte;
	int ready;

	puts("# descriptors");
	SHOW_IS((fcntl(file, F_GETFL) & (O_ACCMODE | O_APPEND)) == (O_RDWR | O_APPEND));
	SHOW(fcntl(file, F_SETFL, 0));
	SHOW_IS((fcntl(file, F_GETFL) & O_APPEND) == 0);
	SHOW(fcntl(file, F_SETFD, FD_CLOEXEC));
	SHOW(fcntl(file, F_GETFD));
	SHOW(fcntl(file, F_DUPFD, 100));
	SHOW(dup2(file, 50));
	SHOW(dup2(file, file) == file);
	SHOW(dup2(99, 51));
	SHOW(dup3(file, file, 0));
	SHOW(dup2(file, -1));
	SHOW(fcntl(99, F_GETFD));
	SHOW(fcntl(file, 9999));
	SHOW(isatty(file));
	close(50);
	close(100);
	SHOW(close(50));
	SHOW(pipe2(ends, O_NONBLOCK | O_CLOEXEC));
	SHOW(read(ends[0], &byte, 1));
	SHOW(write(ends[1], "xyz", 3));
	SHOW(ioctl(ends[0], FIONREAD, &ready));
	SHOW(ready);
	SHOW(read(ends[1], &byte, 1));
	SHOW(write(ends[0], "x", 1));
	SHOW(lseek(ends[0], 0, SEEK_CUR));
	SHOW(pread(ends[0], &byte, 1, 0));
	SHOW(ftruncate(ends[1], 0));
	SHOW(fsync(ends[1]));
	close(ends[1]);
	SHOW(read(ends[0], &byte, 1));
	close(ends[0]);
	SHOW(open("f", O_CREAT | O_EXCL | O_RDWR, 0644));
	SHOW(open("f/g", O_RDONLY));
	SHOW(open("none", O_RDONLY));
	/* Open for neither. */
	int neither = open("f", NEITHER);
	SHOW_IS((fcntl(neither, F_GETFL) & NEITHER) == NEITHER);
	SHOW(read(neither, &byte, 1));
	SHOW(pread(neither, &byte, 1, 0));
	SHOW(write(neither, &byte, 1));
	SHOW(ftruncate(neither, 1));
	SHOW(lseek(neither, 1, SEEK_SET));
	SHOW(fsync(neither));
	SHOW_DONE(mmap(NULL, 4096, PROT_READ, MAP_SHARED, neither, 0));
	SHOW(fcntl(neither, F_SETLK, &(struct flock){ .l_type = F_RDLCK }));
	SHOW(fcntl(neither, F_SETLK, &(struct flock){ .l_type = F_WRLCK }));
	close(neither);
	SHOW(open("/", NEITHER));
	SHOW(mkfifo("neither", 0600));
	SHOW(open("neither", NEITHER));
	SHOW(unlink("neither"));
	SHOW(open("", O_RDONLY));
	SHOW(open("/", O_WRONLY));
	SHOW(open("f", O_DIRECTORY));
	close(file);
	unlink("f");
	int memory = memfd_create("name", MFD_CLOEXEC);
	SHOW_IS(memory >= 0);
	SHOW(write(memory, "abc", 3));
	SHOW(fcntl(memory, F_GETFD));
	close(memory);
	SHOW(memfd_create("name", 0x7000));
}

static void names(void)
{
	struct stat status;
	struct statfs system;
	char bytes[100];

	puts("# names");
	SHOW(mkdir("d", 0755));
	SHOW(mkdir("d", 0755));
	SHOW(symlink("d", "s"));
	SHOW(readlink("s", bytes, 100));
	SHOW(readlink("d", bytes, 100));
	SHOW(rmdir("s"));
	SHOW(unlink("d"));
	SHOW(close(creat("d/f", 0600)));
	SHOW(rmdir("d"));
	SHOW(rename("d/f", "d/g"));
	SHOW(rename("d/f", "d/g"));
	SHOW(link("d/g", "d/h"));
	stat("d/g", &status);
	SHOW(status.st_nlink);
	SHOW(link("d", "e"));
	SHOW(chmod("d/g", 0400));
	stat("d/g", &status);
	SHOW_IS(status.st_mode == (S_IFREG | 0400));
	SHOW(access("d/g", F_OK));
	SHOW(access("none", F_OK));
	SHOW(statfs("none", &system));
	SHOW(statfs("d", &system));
	SHOW(fstatfs(-1, &system));
	SHOW(unlink("d/g"));
	SHOW(unlink("d/h"));
	SHOW(unlink("s"));
	SHOW(rmdir("d"));
	SHOW(chdir("none"));
	SHOW_DONE(getcwd(bytes, 1) ? 0 : -1);
}

int main(void)
{
	char folder[] = "/tmp/files-XXXXXX";

	umask(022);
	mkdtemp(folder);
	chdir(folder);
	locks();
	transfers();
	descriptors();
	names();
	chdir("/");
	return rmdir(folder);
}
