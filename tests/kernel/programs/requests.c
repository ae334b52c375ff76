/* Asynchronous reads and writes: io_setup, io_submit, io_getevents, io_destroy, without libaio. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "show.h"

/* As in <linux/aio_abi.h>, which musl's compiler does not find. */
typedef unsigned long aio_context_t;
enum {
	IOCB_CMD_PREAD = 0, IOCB_CMD_PWRITE = 1, IOCB_CMD_FSYNC = 2, IOCB_CMD_FDSYNC = 3,
	IOCB_CMD_PREADV = 7, IOCB_CMD_PWRITEV = 8, IOCB_FLAG_RESFD = 1,
};
struct io_event {
	uint64_t data, obj;
	int64_t res, res2;
};
struct iocb {
	uint64_t aio_data;
	uint32_t aio_key, aio_rw_flags;
	uint16_t aio_lio_opcode;
	int16_t aio_reqprio;
	uint32_t aio_fildes;
	uint64_t aio_buf, aio_nbytes;
	int64_t aio_offset;
	uint64_t aio_reserved2;
	uint32_t aio_flags, aio_resfd;
};

static aio_context_t context;
static struct io_event events[8];

static long setup(unsigned count, aio_context_t *made) { return syscall(SYS_io_setup, count, made); }
static long destroy(aio_context_t of) { return syscall(SYS_io_destroy, of); }
static long submit(long count, struct iocb **all)
{
	return syscall(SYS_io_submit, context, count, all);
}
static long fetch(long least, long most, struct timespec *within)
{
	return syscall(SYS_io_getevents, context, least, most, events, within);
}

/* Submits one request, and shows what becomes of it. */
static void one(const char *name, struct iocb request)
{
	struct iocb *all[] = { &request };
	long taken = submit(1, all);

	show_result(name, taken);
	if (taken == 1 && fetch(1, 1, 0) == 1)
		printf("  data %lld, result %lld, of the request: %d\n", (long long)events[0].data,
		       (long long)events[0].res, events[0].obj == (uintptr_t)&request);
}

static struct iocb request(int operation, int file, void *buffer, size_t len, long long offset)
{
	struct iocb made = { 0 };

	made.aio_data = 7;
	made.aio_lio_opcode = (unsigned short)operation;
	made.aio_fildes = (unsigned)file;
	made.aio_buf = (uintptr_t)buffer;
	made.aio_nbytes = len;
	made.aio_offset = offset;
	return made;
}

static void contexts(void)
{
	aio_context_t other = 0, used = 1;

	SHOW(setup(0, &other));
	SHOW(setup(1, &used));
	SHOW(setup(1, (aio_context_t *)8));
	SHOW(setup(0x7fffffff, &other));
	SHOW(setup(4, &other));
	SHOW(destroy(other));
	SHOW(destroy(other));
	SHOW(destroy(0));
	SHOW(syscall(SYS_io_submit, other, 1L, 0));
	SHOW(syscall(SYS_io_getevents, other, 1L, 1L, events, 0));
}

static void transfers(int file, int readable)
{
	char bytes[16] = "abcdefgh", got[16] = "";
	struct iovec parts[] = { { bytes, 2 }, { bytes + 4, 2 } };
	struct iovec places[] = { { got, 1 }, { got + 1, 3 } };
	struct iocb wrong;
	int ends[2];

	one("write", request(IOCB_CMD_PWRITE, file, bytes, 8, 4));
	one("read", request(IOCB_CMD_PREAD, file, got, 8, 4));
	SHOW_IS(!memcmp(got, bytes, 8));
	one("a vector is written", request(IOCB_CMD_PWRITEV, file, parts, 2, 0));
	one("a vector is read", request(IOCB_CMD_PREADV, file, places, 2, 0));
	SHOW_IS(!memcmp(got, "abef", 4));
	one("read at the end", request(IOCB_CMD_PREAD, file, got, 8, 12));
	one("fsync", request(IOCB_CMD_FSYNC, file, 0, 0, 0));
	one("fdatasync", request(IOCB_CMD_FDSYNC, file, 0, 0, 0));
	one("write from nowhere", request(IOCB_CMD_PWRITE, file, (void *)8, 8, 0));
	one("a vector of nothing", request(IOCB_CMD_PWRITEV, file, parts, 0, 0));
	one("a negative offset", request(IOCB_CMD_PREAD, file, got, 8, -1));
	one("no such operation", request(99, file, got, 8, 0));
	one("no such file", request(IOCB_CMD_PREAD, 999, got, 8, 0));
	one("write to a file that is read", request(IOCB_CMD_PWRITE, readable, bytes, 8, 0));
	one("fsync with a buffer", request(IOCB_CMD_FSYNC, file, bytes, 0, 0));
	wrong = request(IOCB_CMD_PREAD, file, got, 8, 0);
	wrong.aio_reserved2 = 1;
	one("a reserved word", wrong);
	wrong = request(IOCB_CMD_PWRITE, file, bytes, 3, 0);
	wrong.aio_rw_flags = 2;
	one("write at once", wrong);
	wrong.aio_rw_flags = 1 << 30;
	one("a flag that is not known", wrong);
	SHOW(pipe(ends));
	one("write to a pipe", request(IOCB_CMD_PWRITE, ends[1], bytes, 8, 0));
	one("read from a pipe", request(IOCB_CMD_PREAD, ends[0], got, 5, 0));
}

static void several(int file)
{
	char bytes[8] = "12345678";
	struct iocb made[4], *all[4];
	struct timespec moment = { 0, 1000 };

	for (int at = 0; at < 4; at++) {
		made[at] = request(IOCB_CMD_PWRITE, file, bytes + at, 1, 100 + at);
		made[at].aio_data = (unsigned)at;
		all[at] = &made[at];
	}
	made[2].aio_fildes = 999;
	SHOW(submit(4, all));
	SHOW(submit(0, all));
	SHOW(submit(-1, all));
	SHOW(submit(1, (struct iocb **)8));
	all[0] = (struct iocb *)8;
	SHOW(submit(1, all));
	SHOW(fetch(1, 1, 0));
	SHOW(events[0].data);
	SHOW(fetch(0, 8, 0));
	SHOW(events[0].data);
	SHOW(fetch(1, 8, &moment));
	SHOW(fetch(2, 1, 0));
	SHOW(fetch(-1, 1, 0));
	SHOW(fetch(0, 0, 0));
}

static void counted(int file)
{
	char bytes[8] = "x";
	uint64_t count = 0;
	int counter = eventfd(0, EFD_NONBLOCK);
	struct iocb made = request(IOCB_CMD_PWRITE, file, bytes, 1, 0);

	made.aio_flags = IOCB_FLAG_RESFD;
	made.aio_resfd = (unsigned)counter;
	one("counted", made);
	one("counted", made);
	SHOW(read(counter, &count, 8));
	SHOW(count);
	made.aio_resfd = (unsigned)file;
	one("counted by a file", made);
	made.aio_resfd = 999;
	one("counted by none", made);
}

static int awaited;

static void *writer(void *bytes)
{
	struct iocb made = request(IOCB_CMD_PWRITE, awaited, bytes, 1, 0), *all[] = { &made };

	usleep(50000);
	submit(1, all);
	return 0;
}

static void on_alarm(int signal)
{
	(void)signal;
}

static void waits(int file)
{
	struct sigaction action = { .sa_handler = on_alarm };
	pthread_t thread;
	int status;

	awaited = file;
	pthread_create(&thread, 0, writer, "z");
	SHOW(fetch(1, 8, 0));
	pthread_join(thread, 0);
	sigaction(SIGALRM, &action, 0);
	ualarm(50000, 0);
	SHOW(fetch(1, 8, 0));
	/* A child has no contexts. */
	if (fork() == 0)
		_exit(fetch(0, 1, 0) == -1 && errno == EINVAL ? 3 : 4);
	wait(&status);
	SHOW(status >> 8);
	SHOW(munmap((void *)context, 4096));
	SHOW(fetch(0, 1, 0));
}

int main(void)
{
	int file = open("requests", O_CREAT | O_TRUNC | O_RDWR, 0644);
	int readable = open("requests", O_RDONLY);

	contexts();
	SHOW(setup(8, &context));
	transfers(file, readable);
	several(file);
	counted(file);
	waits(file);
	return 0;
}
