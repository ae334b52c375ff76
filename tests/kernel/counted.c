/* Counts the instructions of system calls, on a machine whose time stamps count instructions. The
   first program of Linux, or a program like others. */
#include "common.h"
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>

enum { WARM = 64, TIMES = 256, FILE_SIZE = 4 << 20 };

static char buffer[64 << 10];
static int file, growing;
static long end;

static unsigned long stamp(void)
{
	unsigned low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (unsigned long)high << 32 | low;
}

static void nothing(long len)
{
	(void)len;
}

static void null_call(long len)
{
	(void)len;
	syscall(SYS_getppid);
}

static void overwrite(long len)
{
	MUST(pwrite(file, buffer, len, FILE_SIZE / 2));
}

static void read_back(long len)
{
	MUST(pread(file, buffer, len, FILE_SIZE / 2));
}

static void append(long len)
{
	MUST(pwrite(growing, buffer, len, end));
	end += len;
}

static unsigned long count(void (*call)(long), long len)
{
	for (int turn = 0; turn < WARM; turn++)
		call(len);
	unsigned long begin = stamp();

	for (int turn = 0; turn < TIMES; turn++)
		call(len);
	return stamp() - begin;
}

int main(void)
{
	static const struct {
		const char *name;
		void (*call)(long);
		long len;
	} calls[] = {
		{ "getppid", null_call, 0 },
		{ "pwrite 1 B", overwrite, 1 },
		{ "pwrite 64 B", overwrite, 64 },
		{ "pwrite 4 KiB", overwrite, PAGE },
		{ "pwrite 64 KiB", overwrite, sizeof buffer },
		{ "pread 1 B", read_back, 1 },
		{ "pread 4 KiB", read_back, PAGE },
		{ "pread 64 KiB", read_back, sizeof buffer },
		{ "append 4 KiB", append, PAGE },
	};
	int is_first = getpid() == 1;

	if (is_first) {
		mkdir("/tmp", 0777);
		MUST(mount("none", "/tmp", "tmpfs", 0, 0));
	}
	file = MUST(open("/tmp/counted", O_RDWR | O_CREAT | O_TRUNC, 0600));
	growing = MUST(open("/tmp/growing", O_RDWR | O_CREAT | O_TRUNC, 0600));
	for (long at = 0; at < FILE_SIZE; at += sizeof buffer)
		MUST(pwrite(file, buffer, sizeof buffer, at));
	unsigned long frame = count(nothing, 0);

	for (unsigned at = 0; at < sizeof calls / sizeof *calls; at++) {
		unsigned long taken = count(calls[at].call, calls[at].len) - frame;

		printf("counted %s: %lu\n", calls[at].name, (taken + TIMES / 2) / TIMES);
	}
	fflush(stdout);
	if (is_first)
		reboot(RB_AUTOBOOT);
	return 0;
}
