/* Files without a name, and what seals keep from being done with them. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "show.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8
#define MFD_EXEC 16
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 16
#endif

static char bytes[3 * 4096];

static int sealed_with(int seals)
{
	int file = memfd_create("sealed", MFD_ALLOW_SEALING | MFD_CLOEXEC);

	printf("# seals %x\n", seals);
	SHOW(ftruncate(file, 2 * 4096));
	SHOW(fcntl(file, F_ADD_SEALS, seals));
	SHOW(fcntl(file, F_GET_SEALS));
	return file;
}

static void tries(int file)
{
	struct stat stat;
	char *shared, *private;

	SHOW(pwrite(file, bytes, 10, 0));
	SHOW(pwrite(file, bytes, 4096, 4096));
	SHOW(pwrite(file, bytes, 4096, 4097));
	SHOW(pwrite(file, bytes, 3 * 4096, 0));
	SHOW(pwrite(file, bytes, 1, 3 * 4096));
	SHOW(ftruncate(file, 2 * 4096));
	SHOW(ftruncate(file, 4096));
	SHOW(ftruncate(file, 3 * 4096));
	SHOW(fallocate(file, 0, 0, 4 * 4096));
	SHOW(fallocate(file, FALLOC_FL_KEEP_SIZE, 0, 8 * 4096));
	SHOW(fallocate(file, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, 4096));
	fstat(file, &stat);
	SHOW(stat.st_size);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	SHOW_IS(shared != MAP_FAILED || errno == EPERM);
	SHOW_IS(shared == MAP_FAILED);
	if (shared != MAP_FAILED)
		munmap(shared, 4096);
	shared = mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0);
	SHOW_IS(shared != MAP_FAILED);
	SHOW(mprotect(shared, 4096, PROT_READ | PROT_WRITE));
	munmap(shared, 4096);
	private = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	SHOW_IS(private != MAP_FAILED);
	private[0] = 1;
	munmap(private, 4096);
	SHOW(fcntl(file, F_ADD_SEALS, F_SEAL_SEAL));
	SHOW(fcntl(file, F_ADD_SEALS, F_SEAL_GROW));
	close(file);
}

int main(void)
{
	char path[64], target[64] = "";
	struct stat stat;
	int file, again, status;

	puts("# names and flags");
	SHOW_DONE(file = memfd_create("", 0));
	SHOW(fcntl(file, F_GET_SEALS));
	SHOW(fcntl(file, F_ADD_SEALS, F_SEAL_WRITE));
	SHOW(fcntl(file, F_GETFD));
	fstat(file, &stat);
	SHOW(stat.st_mode);
	SHOW(stat.st_size);
	SHOW(stat.st_nlink);
	close(file);
	SHOW(memfd_create("x", 0x100));
	SHOW(memfd_create((char *)8, 0));
	memset(bytes, 'n', 250);
	SHOW(memfd_create(bytes, 0));
	bytes[249] = 0;
	SHOW_DONE(file = memfd_create(bytes, MFD_CLOEXEC));
	SHOW(fcntl(file, F_GETFD));
	close(file);
	SHOW(memfd_create("x", MFD_EXEC | MFD_NOEXEC_SEAL));
	SHOW_DONE(file = memfd_create("noexec", MFD_NOEXEC_SEAL));
	SHOW(fcntl(file, F_GET_SEALS));
	fstat(file, &stat);
	SHOW(stat.st_mode);
	close(file);
	SHOW_DONE(file = memfd_create("a name", MFD_ALLOW_SEALING));
	sprintf(path, "/proc/self/fd/%d", file);
	SHOW(readlink(path, target, sizeof target));
	puts(target);
	SHOW(write(file, "shared", 6));
	SHOW_DONE(again = open(path, O_RDONLY));
	SHOW(read(again, bytes, 10));
	SHOW(fcntl(again, F_GET_SEALS));
	SHOW(fcntl(again, F_ADD_SEALS, F_SEAL_SHRINK));
	close(again);
	SHOW_DONE(again = open(path, O_RDWR));
	SHOW(fcntl(again, F_ADD_SEALS, F_SEAL_SHRINK));
	SHOW(fcntl(file, F_GET_SEALS));
	SHOW(fcntl(file, F_ADD_SEALS, 0x1000));
	if (fork() == 0) {
		SHOW(fcntl(file, F_ADD_SEALS, F_SEAL_GROW));
		_exit(0);
	}
	wait(&status);
	SHOW(fcntl(file, F_GET_SEALS));
	close(again);
	close(file);
	int ends[2];
	pipe(ends);
	SHOW(fcntl(ends[0], F_GET_SEALS));
	SHOW(fcntl(ends[1], F_ADD_SEALS, F_SEAL_WRITE));
	memset(bytes, 0, sizeof bytes);
	tries(sealed_with(0));
	tries(sealed_with(F_SEAL_SHRINK));
	tries(sealed_with(F_SEAL_GROW));
	tries(sealed_with(F_SEAL_WRITE));
	tries(sealed_with(F_SEAL_FUTURE_WRITE));
	tries(sealed_with(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL));
	puts("# mapped");
	SHOW_DONE(file = memfd_create("mapped", MFD_ALLOW_SEALING));
	ftruncate(file, 4096);
	char *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	SHOW(fcntl(file, F_ADD_SEALS, F_SEAL_WRITE));
	SHOW(mprotect(shared, 4096, PROT_READ));
	SHOW(fcntl(file, F_ADD_SEALS, F_SEAL_WRITE));
	SHOW(fcntl(file, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	SHOW(mprotect(shared, 4096, PROT_READ | PROT_WRITE));
	shared[0] = 'x';
	SHOW(pread(file, bytes, 1, 0));
	SHOW(bytes[0]);
	SHOW(munmap(shared, 4096));
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	SHOW(fcntl(file, F_ADD_SEALS, F_SEAL_WRITE));
	SHOW(fcntl(file, F_GET_SEALS));
	return 0;
}
