/* One pipe with many readers and writers: no record is lost, read twice or torn. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "show.h"

enum { WRITERS = 4, READERS = 6, RECORDS = 300 };

/* Half a record says the same as the other half. */
struct record {
	uint32_t value, again;
};

static void herd(int flags)
{
	struct { uint32_t count, sum, torn; } *seen;
	struct record record;
	int ends[2];

	seen = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	SHOW(pipe2(ends, flags));
	for (int reader = 0; reader < READERS; reader++) {
		if (fork())
			continue;
		close(ends[1]);
		for (;;) {
			ssize_t got = read(ends[0], &record, sizeof record);

			if (got < 0 && errno == EAGAIN)
				continue;
			if (got <= 0)
				break;
			int torn = got != sizeof record || record.value != record.again;

			__atomic_fetch_add(&seen->torn, torn, __ATOMIC_RELAXED);
			__atomic_fetch_add(&seen->count, 1, __ATOMIC_RELAXED);
			__atomic_fetch_add(&seen->sum, record.value, __ATOMIC_RELAXED);
		}
		_exit(0);
	}
	for (int writer = 0; writer < WRITERS; writer++) {
		if (fork())
			continue;
		for (uint32_t at = 0; at < RECORDS; at++) {
			record.value = record.again = (uint32_t)writer * RECORDS + at;
			while (write(ends[1], &record, sizeof record) < 0 && errno == EAGAIN)
				;
		}
		_exit(0);
	}
	close(ends[0]);
	close(ends[1]);
	while (wait(NULL) > 0)
		;
	SHOW(seen->count);
	SHOW(seen->sum);
	SHOW(seen->torn);
	munmap(seen, 4096);
}

int main(void)
{
	herd(0);
	herd(O_NONBLOCK);
	return 0;
}
