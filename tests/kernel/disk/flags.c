/* O_DIRECT, the flags of files, and where their bytes are: on a disk. */
#include "../programs/show.h"
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

static char *buffer, *volatile nowhere;

static void direct(void)
{
	int file = open("d", O_CREAT | O_RDWR | O_TRUNC | O_DIRECT, 0600), plain = open("d", O_RDWR), other;
	struct iovec vector[2] = {{buffer, 512}, {buffer + 4096, 512}}, odd[2] = {{buffer, 512}, {buffer + 100, 512}},
	    odd_len[2] = {{buffer, 512}, {buffer + 4096, 100}};
	struct stat status;

	puts("# direct");
	SHOW_IS(file >= 0);
	SHOW_IS(fcntl(file, F_GETFL) & O_DIRECT);
	memset(buffer, 'a', 16384);
	SHOW(pwrite(file, buffer, 8192, 0));
	SHOW(pwrite(file, buffer, 512, 8192));
	SHOW(pwrite(file, buffer + 512, 512, 0));
	SHOW(pwrite(file, buffer, 100, 0));
	SHOW(pwrite(file, buffer, 513, 0));
	SHOW(pwrite(file, buffer, 512, 100));
	SHOW(pwrite(file, buffer, 512, 8192 + 1024));
	SHOW(pwrite(file, buffer, 0, 1));
	SHOW(pwrite(file, nowhere, 512, 0));
	SHOW(pread(file, buffer, 100, 0));
	SHOW(pread(file, buffer, 512, 1));
	SHOW(pread(file, buffer, 512, 0));
	SHOW(pread(file, buffer, 4096, 8192));
	SHOW(pread(file, buffer, 4096, 1 << 20));
	SHOW(pread(file, buffer, 100, 1 << 20));
	SHOW(pread(file, buffer, 0, 1));
	SHOW(preadv(file, vector, 2, 0));
	SHOW(preadv(file, odd, 2, 0));
	SHOW(preadv(file, odd_len, 2, 0));
	SHOW(pwritev(file, vector, 2, 512));
	SHOW(pwritev(file, odd, 2, 512));
	SHOW(lseek(file, 5, SEEK_SET));
	SHOW(read(file, buffer, 512));
	SHOW(lseek(file, 512, SEEK_SET));
	SHOW(read(file, buffer, 512));
	SHOW(lseek(file, 0, SEEK_CUR));
	/* What one sees of the other. */
	memset(buffer, 'p', 4096);
	SHOW(pwrite(plain, buffer, 10, 3));
	SHOW(pread(file, buffer + 4096, 512, 0));
	SHOW_IS(buffer[4096 + 3] == 'p' && buffer[4096] == 'a');
	memset(buffer, 'q', 4096);
	SHOW(pwrite(file, buffer, 512, 0));
	SHOW(pread(plain, buffer + 4096, 512, 0));
	SHOW_IS(buffer[4096] == 'q' && buffer[4096 + 511] == 'q');
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, plain, 0);
	page[1] = 'm';
	SHOW(pread(file, buffer, 512, 0));
	SHOW_IS(buffer[1] == 'm');
	memset(buffer, 'r', 4096);
	SHOW(pwrite(file, buffer, 4096, 0));
	SHOW_IS(page[1] == 'r');
	/* From its own mapping. */
	SHOW(pwrite(file, page, 512, 4096));
	SHOW(pread(file, page, 512, 4096));
	SHOW(ftruncate(file, 1000));
	SHOW(pread(file, buffer, 4096, 0));
	SHOW(pread(file, buffer, 512, 512));
	SHOW(pread(file, buffer, 512, 1024));
	SHOW(pwrite(file, buffer, 512, 512));
	fstat(file, &status);
	SHOW(status.st_size);
	SHOW(fcntl(plain, F_SETFL, O_DIRECT));
	SHOW(pread(plain, buffer, 100, 0));
	SHOW(fcntl(plain, F_SETFL, 0));
	SHOW(pread(plain, buffer, 100, 0));
	other = open("d", O_WRONLY | O_DIRECT | O_APPEND);
	SHOW(write(other, buffer, 512));
	SHOW(write(other, buffer, 100));
	SHOW(lseek(other, 0, SEEK_CUR));
	close(other);
	SHOW_DONE(open(".", O_RDONLY | O_DIRECT));
	SHOW_DONE(open(".", O_DIRECT | O_TMPFILE | O_RDWR, 0600));
	int ends[2];
	SHOW(pipe2(ends, O_DIRECT));
	SHOW_DONE(open("/dev/null", O_RDWR | O_DIRECT));
	close(plain);
	close(file);
}

static int flags_of(int file)
{
	int flags = -1;

	return ioctl(file, FS_IOC_GETFLAGS, &flags) ? -1 : flags & (FS_APPEND_FL | FS_IMMUTABLE_FL | FS_NOATIME_FL | FS_NODUMP_FL | FS_SYNC_FL);
}
static int set(int file, int flags)
{
	int old = 0;

	if (ioctl(file, FS_IOC_GETFLAGS, &old))
		return -1;
	flags |= old & ~(FS_APPEND_FL | FS_IMMUTABLE_FL | FS_NOATIME_FL | FS_NODUMP_FL | FS_SYNC_FL);
	return ioctl(file, FS_IOC_SETFLAGS, &flags);
}

/* The same by their other names. */
static int kinds_of(int file)
{
	struct fsxattr told = {0};

	return ioctl(file, FS_IOC_FSGETXATTR, &told) ? -1 : (int)(told.fsx_xflags + told.fsx_extsize);
}
static int set_kinds(int file, int kinds)
{
	struct fsxattr now = {.fsx_xflags = kinds};

	return ioctl(file, FS_IOC_FSSETXATTR, &now);
}

static void flags(void)
{
	int file = open("f", O_CREAT | O_RDWR | O_TRUNC, 0600), folder, again;
	struct statx told;

	puts("# flags");
	SHOW(flags_of(file));
	SHOW(set(file, FS_NODUMP_FL | FS_NOATIME_FL));
	SHOW(flags_of(file));
	SHOW(set(file, 0));
	SHOW(ioctl(file, FS_IOC_GETFLAGS, NULL));
	SHOW(ioctl(file, FS_IOC_SETFLAGS, NULL));
	SHOW(ioctl(file, FS_IOC_FSGETXATTR, NULL));
	SHOW(set_kinds(file, FS_XFLAG_NODUMP | FS_XFLAG_NOATIME));
	SHOW(flags_of(file));
	SHOW(kinds_of(file));
	SHOW(set_kinds(file, FS_XFLAG_SYNC));
	SHOW(flags_of(file));
	SHOW(kinds_of(file));
	SHOW(set_kinds(file, FS_XFLAG_REALTIME));
	SHOW(set(file, 0));
	SHOW(kinds_of(file));
	write(file, "abc", 3);
	SHOW(set(file, FS_APPEND_FL));
	SHOW(flags_of(file));
	SHOW(statx(AT_FDCWD, "f", 0, 0, &told));
	SHOW_IS(told.stx_attributes_mask & STATX_ATTR_APPEND);
	SHOW_IS(told.stx_attributes & STATX_ATTR_APPEND);
	SHOW_IS(told.stx_attributes & STATX_ATTR_IMMUTABLE);
	SHOW(pwrite(file, "x", 1, 0));
	SHOW(open("f", O_WRONLY));
	SHOW(open("f", O_RDWR | O_TRUNC));
	SHOW(open("f", O_RDWR | O_APPEND | O_TRUNC));
	SHOW_DONE(again = open("f", O_RDWR | O_APPEND));
	SHOW(write(again, "more", 4));
	SHOW(pwrite(again, "x", 1, 0));
	SHOW(ftruncate(again, 0));
	SHOW(ftruncate(file, 100));
	SHOW(truncate("f", 0));
	SHOW(fallocate(again, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1));
	SHOW(fallocate(again, 0, 0, 100));
	SHOW(fcntl(again, F_SETFL, 0));
	SHOW(fcntl(again, F_SETFL, O_APPEND | O_NONBLOCK));
	SHOW(unlink("f"));
	SHOW(rename("f", "g"));
	SHOW(link("f", "g"));
	SHOW(chmod("f", 0644));
	SHOW(chown("f", 0, 0));
	SHOW(utimensat(AT_FDCWD, "f", NULL, 0));
	struct timespec times[2] = {{1, 0}, {1, 0}};
	SHOW(utimensat(AT_FDCWD, "f", times, 0));
	SHOW(setxattr("f", "user.a", "x", 1, 0));
	SHOW(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, again, 0) == MAP_FAILED ? -1 : 0);
	SHOW(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) == MAP_FAILED ? -1 : 0);
	close(creat("h", 0600));
	SHOW(rename("h", "f"));
	close(again);
	SHOW(set(file, FS_IMMUTABLE_FL));
	SHOW(statx(AT_FDCWD, "f", 0, 0, &told));
	SHOW_IS(told.stx_attributes & STATX_ATTR_IMMUTABLE);
	SHOW(open("f", O_WRONLY));
	SHOW(open("f", O_RDWR | O_APPEND));
	SHOW(open("f", O_RDONLY | O_TRUNC));
	SHOW(open("f", O_RDWR | O_CREAT, 0600));
	SHOW_DONE(again = open("f", O_RDONLY));
	close(again);
	SHOW(truncate("f", 0));
	SHOW(fallocate(file, 0, 0, 100));
	SHOW(unlink("f"));
	SHOW(rename("f", "g"));
	SHOW(rename("h", "f"));
	SHOW(link("f", "g"));
	SHOW(chmod("f", 0644));
	SHOW(fchmod(file, 0644));
	SHOW(chown("f", 0, 0));
	SHOW(utimensat(AT_FDCWD, "f", NULL, 0));
	SHOW(utimensat(AT_FDCWD, "f", times, 0));
	SHOW(setxattr("f", "user.a", "x", 1, 0));
	SHOW(removexattr("f", "user.a"));
	SHOW(access("f", W_OK));
	SHOW(access("f", R_OK));
	SHOW(fsync(file));
	SHOW(flags_of(file));
	SHOW(set(file, 0));
	SHOW(unlink("h"));
	SHOW(chmod("f", 0600));
	/* Directories. */
	mkdir("folder", 0755);
	close(creat("folder/a", 0600));
	SHOW_DONE(folder = open("folder", O_RDONLY));
	SHOW(set(folder, FS_APPEND_FL));
	SHOW(close(creat("folder/b", 0600)));
	SHOW(mkdir("folder/c", 0700));
	SHOW(unlink("folder/a"));
	SHOW(rmdir("folder/c"));
	SHOW(rename("folder/a", "folder/d"));
	SHOW(rename("folder/a", "d2"));
	SHOW(rename("f", "folder/f"));
	SHOW(rename("folder", "folder2"));
	SHOW(rmdir("folder"));
	SHOW(chmod("folder", 0700));
	SHOW(set(folder, FS_IMMUTABLE_FL));
	SHOW(creat("folder/x", 0600));
	SHOW(mkdir("folder/x", 0700));
	SHOW(symlink("x", "folder/x"));
	SHOW(link("d", "folder/x"));
	SHOW(unlink("folder/a"));
	SHOW(rename("folder/a", "folder/d"));
	SHOW(rename("d", "folder/d"));
	SHOW(open("folder", O_TMPFILE | O_RDWR, 0600));
	SHOW_DONE(again = open("folder/a", O_RDWR));
	SHOW(write(again, "x", 1));
	SHOW(access("folder", W_OK));
	SHOW(set(folder, FS_NODUMP_FL));
	close(creat("folder/e", 0600));
	again = open("folder/e", O_RDONLY);
	SHOW(flags_of(again));
	SHOW(set(folder, 0));
	int pipes[2];
	pipe(pipes);
	SHOW(flags_of(pipes[0]));
	SHOW(set(open("/dev/null", O_RDWR), 0));
	SHOW(unlink("folder/a"));
	SHOW(unlink("folder/b"));
	SHOW(unlink("folder/e"));
	SHOW(unlink("folder/f"));
	SHOW(rmdir("folder/c"));
	SHOW(rmdir("folder"));
}

/* Prints the pages of extents, those in one that lie one behind the other; blocks may be smaller. */
static int map_of(const char *what, int file, uint64_t start, uint64_t len, unsigned flags, unsigned room)
{
	char space[sizeof(struct fiemap) + 64 * sizeof(struct fiemap_extent)] = {0};
	struct fiemap *map = (struct fiemap *)space;
	struct fiemap_extent *one = map->fm_extents;
	unsigned last = 0;

	map->fm_start = start;
	map->fm_length = len;
	map->fm_flags = flags;
	map->fm_extent_count = room;
	printf("%s:\n", what);
	if (SHOW(ioctl(file, FS_IOC_FIEMAP, map)))
		printf("flags %#x\n", map->fm_flags);
	for (unsigned i = 0; room && i < map->fm_mapped_extents; i = last) {
		for (last = i + 1; last < map->fm_mapped_extents; last++)
			if (one[last].fe_logical != one[last - 1].fe_logical + one[last - 1].fe_length)
				break;
		printf("  %lld to %lld %#x\n", (long long)one[i].fe_logical / 4096,
		       (long long)(one[last - 1].fe_logical + one[last - 1].fe_length - 1) / 4096,
		       one[last - 1].fe_flags);
	}
	return map->fm_mapped_extents;
}

static void places(void)
{
	int file = open("m", O_CREAT | O_RDWR | O_TRUNC, 0600), block = 0, size;

	ioctl(file, FIGETBSZ, &size);
	puts("# places");
	map_of("empty", file, 0, -1, 0, 10);
	memset(buffer, 'a', 8192);
	pwrite(file, buffer, 8192, 0);
	pwrite(file, buffer, 4096, 5 * 4096);
	pwrite(file, buffer, 100, 9 * 4096);
	fsync(file);
	map_of("all", file, 0, -1, 0, 10);
	map_of("synced", file, 0, -1, FIEMAP_FLAG_SYNC, 10);
	SHOW_IS(map_of("counted", file, 0, -1, 0, 0) == map_of("again", file, 0, -1, 0, 60));
	map_of("part", file, 4096, 4096, 0, 10);
	map_of("hole", file, 3 * 4096, 4096, 0, 10);
	map_of("behind", file, 20 * 4096, 4096, 0, 10);
	map_of("odd", file, 5000, 100, 0, 10);
	map_of("nothing", file, 0, 0, 0, 10);
	map_of("unknown", file, 0, -1, 0x80, 10);
	SHOW(ioctl(file, FIBMAP, &block));
	SHOW_IS(block != 0);
	block = 4 * 4096 / size - 1;
	SHOW(ioctl(file, FIBMAP, &block));
	SHOW(block);
	block = 1000;
	SHOW(ioctl(file, FIBMAP, &block));
	SHOW(block);
	block = -1;
	SHOW(ioctl(file, FIBMAP, &block));
	SHOW(ioctl(file, FIBMAP, NULL));
	SHOW(ioctl(file, FICLONE, file) < 0 ? -1 : 0);
	SHOW(ioctl(file, 0x12345678, &size));
	int folder = open(".", O_RDONLY);
	SHOW(ioctl(folder, FIGETBSZ, &size));
	SHOW(ioctl(folder, FIBMAP, &block));
	SHOW(ioctl(folder, FIONREAD, &block));
	close(file);
	unlink("m");
}

int main(void)
{
	umask(022);
	posix_memalign((void **)&buffer, 4096, 1 << 16);
	direct();
	flags();
	places();
	unlink("d");
	return 0;
}
